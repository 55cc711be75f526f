"""The model card of an adapter: what it is, how it was trained and scored, and lines of Python that use it as they stand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedquad import discover
from fedquad.objective import Metric
from fedquad.report.words import seconds

PIPELINES = {
    "classification": "text-classification",
    "regression": "text-classification",
    "token_classification": "token-classification",
    "causal_lm": "text-generation",
}
INPUTS = {"adapter": "adapter that all methods began with"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a card is of."""

    campaign: str
    spec: Mapping[str, Any]  # plain
    arm: Mapping[str, Any]  # of summary.json
    facts: Mapping[str, Any]  # of the round that it is from
    metric: Metric
    objective: str
    labels: Sequence[str]
    columns: Sequence[str]
    is_embedded: bool  # whether the base model comes with fedquad
    is_merged: bool


def card(of: Subject) -> str:
    """The card as Markdown, with the header that model hubs read."""
    base, data, arm, facts = of.spec["model"]["name"], of.spec["data"]["name"], of.arm, of.facts
    metric = of.metric
    kind = "model" if of.is_merged else "LoRA adapter"
    fleet = of.spec["fleet"]
    boards = ", ".join(f"{count} {board}" for board, count in fleet["boards"].items() if count)
    devices = f"{sum(fleet['boards'].values())} {'real' if fleet['pools'] else 'simulated'} devices ({boards})"
    remark = discover.remark(arm["method"])
    start = f", from {metric.say(arm['start']['score'])}{metric.unit} before the first round" if arm["start"] else ""
    digests = "\n".join(f"| {INPUTS.get(name, name)} | `{digest}` |" for name, digest in arm["digests"].items())
    return f"""---
library_name: {"transformers" if of.is_merged else "peft"}
pipeline_tag: {PIPELINES[of.objective]}
tags: [fedquad, federated-learning, lora]
---

# {arm["label"]} on {data}, from campaign {of.campaign}

A {kind} for `{base}` that {_does(of)}, trained without moving the data of the devices that hold it.

## Use

```python
{snippet(of)}
```

## How it was trained

Method `{arm["method"]}`{_params(arm["params"])}, seed {arm["seed"]}, on {devices}, each with its own part of `{data}`
({_dealt(of.spec["data"])}). It is what round {facts["round"]} of {of.spec["rounds"]} left, the best by the
validation split, after {seconds(facts["elapsed_seconds"])} of the fleet's time.{f" {arm['method']}: {remark}." if remark else ""}

LoRA of rank {of.spec["model"]["rank"]}, alpha {of.spec["model"]["alpha"]:g}; batch {of.spec["training"]["batch"]}, learning rate {of.spec["training"]["learning_rate"]:g}, {of.spec["model"]["max_length"]} tokens an example at most.

## How it scored

| split | {metric.words} |
|---|---|
| test | {metric.say(facts["score"])}{metric.unit} |
| validation, which chose the round | {metric.say(facts["validation_score"])}{metric.unit} |

{len(arm["rounds"])} rounds were run; the last scored {metric.say(arm["final_score"])}{metric.unit} on the test split{start}. One seed: another would score otherwise.

## What it was computed from

| input | SHA-256 |
|---|---|
{digests}
| state of the round | `{facts["state_digest"]}` |
"""


def _does(of: Subject) -> str:
    """What it can do, in words."""
    if of.objective == "causal_lm":
        return "answers"
    if of.objective == "regression":
        return f"says a number, where 0 stands for {of.labels[0]} and 1 for {of.labels[-1]}"
    if of.objective == "token_classification":
        return f"tags words with {', '.join(of.labels)}"
    return f"tells {', '.join(of.labels)} apart"


def snippet(of: Subject) -> str:
    """Lines that load it from the folder they are run in and use it on one example."""
    if of.objective == "causal_lm":
        return "\n".join([*_loaded(of, "AutoModelForCausalLM", "", []), *ANSWERING])
    example = {"text": "the dog did not bite the cat."}
    if len(of.columns) > 1:
        example["text_pair"] = "the cat was bitten by the dog."
    names, kind = f", {json.dumps(list(of.labels))}", PIPELINES[of.objective]
    auto = "AutoModelForTokenClassification" if kind == "token-classification" else "AutoModelForSequenceClassification"
    given, more = "id2label=dict(enumerate(labels))", []
    if of.objective == "regression":
        names, given, more = "", 'num_labels=1, problem_type="regression"', ['function_to_apply="none"']
    use = json.dumps(example["text"] if kind == "token-classification" else example)
    if of.is_merged:
        made = ", ".join([f'"{kind}"', 'model="."', *more])
        lines = ["from transformers import pipeline", ""]
    else:
        made = ", ".join([f'"{kind}"', "model=model", "tokenizer=AutoTokenizer.from_pretrained(base)", *more])
        lines = _loaded(of, auto, given, ["pipeline"], names)
    return "\n".join([*lines, f"classify = pipeline({made})", f"print(classify({use}))"])


ANSWERING = (
    'said = [{"role": "user", "content": "the dog chased the cat. who chased the cat?"}]',
    "asked = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)",
    'tokens = tokenizer(asked, add_special_tokens=False, return_tensors="pt")',
    "made = model.generate(input_ids=tokens.input_ids, max_new_tokens=32, do_sample=False)[0]",
    "print([tokenizer.decode(made[tokens.input_ids.shape[1] :], skip_special_tokens=True)])",
)


def _loaded(of: Subject, auto: str, given: str, also: Sequence[str], names: str = "") -> list[str]:
    """Lines that put the adapter on its base, or read the merged model with its tokenizer."""
    if of.is_merged:
        return [
            f"from transformers import {auto}, AutoTokenizer",
            "",
            f'model, tokenizer = {auto}.from_pretrained("."), AutoTokenizer.from_pretrained(".")',
        ]
    base = json.dumps(of.spec["model"]["name"])
    where = f"locate({base})" if of.is_embedded else base
    own = ["", "from fedquad.learn.source import locate  # the base model comes with fedquad"] if of.is_embedded else []
    return [
        "from peft import PeftModel",
        f"from transformers import {', '.join([auto, 'AutoTokenizer', *also])}",
        *own,
        "",
        f"base{', labels' if names else ''} = {where}{names}",
        f"model = {auto}.from_pretrained({', '.join(['base', *([given] if given else [])])})",
        'model = PeftModel.from_pretrained(model, ".").merge_and_unload()',
        *([] if also else ["tokenizer = AutoTokenizer.from_pretrained(base)"]),
    ]


def _dealt(data: Mapping[str, Any]) -> str:
    """How the devices came by their examples."""
    if data["partition"] == "local":
        return "its own, never dealt"
    return f"partition {data['partition'] or 'as is usual'}, alpha {data['alpha']:g}"


def _params(params: Mapping[str, Any]) -> str:
    return f" ({', '.join(f'{key} {value}' for key, value in params.items())})" if params else ""
