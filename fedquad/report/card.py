"""The model card of an adapter: what it is, how it was trained and scored, and lines of Python that use it as they stand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedquad import discover
from fedquad.report.words import percent, seconds

INPUTS = {"adapter": "adapter that all methods began with"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a card is of."""

    campaign: str
    spec: Mapping[str, Any]  # plain
    arm: Mapping[str, Any]  # of summary.json
    facts: Mapping[str, Any]  # of the round that it is from
    labels: Sequence[str]
    columns: Sequence[str]
    is_embedded: bool  # whether the base model comes with fedquad
    is_merged: bool


def card(of: Subject) -> str:
    """The card as Markdown, with the header that model hubs read."""
    base, data, arm, facts = of.spec["model"]["name"], of.spec["data"]["name"], of.arm, of.facts
    kind = "model" if of.is_merged else "LoRA adapter"
    fleet = of.spec["fleet"]
    boards = ", ".join(f"{count} {board}" for board, count in fleet["boards"].items() if count)
    devices = f"{sum(fleet['boards'].values())} {'real' if fleet['pools'] else 'simulated'} devices ({boards})"
    remark = discover.remark(arm["method"])
    start = f", from {percent(arm['start']['accuracy'])} % before the first round" if arm["start"] else ""
    digests = "\n".join(f"| {INPUTS.get(name, name)} | `{digest}` |" for name, digest in arm["digests"].items())
    return f"""---
library_name: {"transformers" if of.is_merged else "peft"}
pipeline_tag: text-classification
tags: [fedquad, federated-learning, lora]
---

# {arm["label"]} on {data}, from campaign {of.campaign}

A {kind} for `{base}` that tells {", ".join(of.labels)} apart, trained without moving the data of the devices that hold it.

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

| split | accuracy |
|---|---|
| test | {percent(facts["accuracy"])} % |
| validation, which chose the round | {percent(facts["validation_accuracy"])} % |

{len(arm["rounds"])} rounds were run; the last scored {percent(arm["final_accuracy"])} % on the test split{start}. One seed: another would score otherwise.

## What it was computed from

| input | SHA-256 |
|---|---|
{digests}
| state of the round | `{facts["state_digest"]}` |
"""


def snippet(of: Subject) -> str:
    """Lines that load it from the folder they are run in and classify one example."""
    example = {"text": "the dog did not bite the cat."}
    if len(of.columns) > 1:
        example["text_pair"] = "the cat was bitten by the dog."
    lines = ["from transformers import pipeline", ""]
    if of.is_merged:
        lines.append('classify = pipeline("text-classification", model=".")')
    else:
        base = json.dumps(of.spec["model"]["name"])
        where = f"locate({base})" if of.is_embedded else base
        lines = [
            "from peft import PeftModel",
            "from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline",
            *(
                ["", "from fedquad.learn.source import locate  # the base model comes with fedquad"]
                if of.is_embedded
                else []
            ),
            "",
            f"base, labels = {where}, {json.dumps(list(of.labels))}",
            "model = AutoModelForSequenceClassification.from_pretrained(base, id2label=dict(enumerate(labels)))",
            'model = PeftModel.from_pretrained(model, ".").merge_and_unload()',
            'classify = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(base))',
        ]
    return "\n".join([*lines, f"print(classify({json.dumps(example)}))"])


def _dealt(data: Mapping[str, Any]) -> str:
    """How the devices came by their examples."""
    if data["partition"] == "local":
        return "its own, never dealt"
    return f"partition {data['partition']}, alpha {data['alpha']:g}"


def _params(params: Mapping[str, Any]) -> str:
    return f" ({', '.join(f'{key} {value}' for key, value in params.items())})" if params else ""
