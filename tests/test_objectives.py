"""Objectives: scores from sums that add up, labels where they belong, and every method on every one of them with tiny models."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import WORDS, a_spec, an_adapter, write_model

from fedquad import discover
from fedquad.errors import DeviceError, SpecError
from fedquad.learn import tokens
from fedquad.learn.encoding import NO_LABEL
from fedquad.learn.evaluate import evaluate
from fedquad.learn.language_head import head_losses
from fedquad.learn.loop import train
from fedquad.learn.model import Trainee, load
from fedquad.objective import Counts, Metric, metric_of
from fedquad.objectives import regression
from fedquad.objectives.token_classification import in_order, spans
from fedquad.spec import DataSpec, TrainingSpec
from fedquad.types import Assignment

ROWS = 48
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
COLUMNS: dict[str, dict[str, Any]] = {
    "classification": {"text_columns": ("text",), "label_column": "label"},
    "regression": {"text_columns": ("text",), "label_column": "score"},
    "token_classification": {"text_columns": ("text",), "label_column": "tags"},
    "causal_lm": {"prompt_column": "text", "answer_column": "answer"},
}


def write_set(folder: Path) -> Path:
    """A set of which every objective can learn something: the first word, one of two, decides."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, seed in (("train", 0), ("validation", 1), ("test", 2)):
        draw = np.random.default_rng(seed)
        rows = []
        for _ in range(ROWS):
            picked = [WORDS[draw.integers(0, 2)], *(WORDS[i] for i in draw.integers(2, 12, 4))]
            first = WORDS.index(picked[0])
            tags = ["B-a" if WORDS.index(word) < 6 else "O" for word in picked]
            rows.append({"text": " ".join(picked), "label": str(first), "score": float(first), "tags": tags, "answer": f"{picked[0]} {picked[1]}"})  # fmt: skip
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def data_of(objective: str, source: Path) -> DataSpec:
    return DataSpec(name="tiny", source=str(source), objective=objective, **COLUMNS[objective])


class Ready:
    """A tiny model and a tiny set under an objective."""

    def __init__(self, objective: str, folder: Path, greatest_rank: int = 4) -> None:
        is_causal = objective == "causal_lm"
        kind, targets = ("llama", LINEARS) if is_causal else ("roberta", ())
        spec = a_spec(write_model(folder / "model", kind, causal=is_causal), max_length=16, targets=targets)
        self.data = data_of(objective, write_set(folder / "set"))
        self.prepared = tokens.prepare(self.data, spec, 0, folder / "cache")
        self.trainee: Trainee = load(spec, self.prepared["labels"], greatest_rank, objective)
        self.splits = {name: tokens.read(Path(split["path"])) for name, split in self.prepared["splits"].items()}
        self.objective = discover.objective(objective)

    def assignment(self, **other: Any) -> Assignment:
        layers = tuple(range(3))
        return Assignment(**({"device": 0, "present": layers, "trained": layers, "ranks": (4,) * 3, "steps": 60, "learning_rate": 2e-2} | other))  # fmt: skip


@pytest.fixture(scope="module", params=sorted(COLUMNS))
def ready(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ready:
    return Ready(request.param, tmp_path_factory.mktemp(request.param))


def test_every_objective_has_both_halves_and_its_metrics(ready: Ready) -> None:
    assert set(discover.objectives()) == set(COLUMNS)
    start = evaluate(ready.trainee, an_adapter(ready.trainee.layout), ready.splits["test"], 0, ROWS, 16)
    found = ready.objective.score(start.sums)
    assert set(found) == {metric.name for metric in ready.objective.metrics}
    assert ready.prepared["metrics"] == [ready.objective.metrics[0].name]


def test_counts_add_up_over_chunks_and_survive_json(ready: Ready) -> None:
    adapter, data = an_adapter(ready.trainee.layout), ready.splits["test"]
    whole = evaluate(ready.trainee, adapter, data, 0, ROWS, 8)
    parts = [evaluate(ready.trainee, adapter, data, start, start + 16, 8) for start in range(0, ROWS, 16)]
    parts = [Counts.from_json(json.loads(json.dumps(part.to_json()))) for part in parts]
    added = parts[0] + parts[1] + parts[2]
    for name, value in whole.sums.items():
        np.testing.assert_allclose(added.sums[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    for name, score in ready.objective.score(added.sums).items():
        assert score == pytest.approx(ready.objective.score(whole.sums)[name], rel=1e-4, abs=1e-5)


def test_it_learns_and_int8_learns_alike_from_a_bit_equal_loss(ready: Ready) -> None:
    trainee, data = ready.trainee, ready.splits["train"]
    master = an_adapter(trainee.layout)
    training = TrainingSpec(batch=16)

    def run(**other: Any) -> Any:
        return train(trainee, ready.assignment(**other), master, data, training=training, key=(0, 0, 1, 0), round=1, based_on="")  # fmt: skip

    plain, coded = run(steps=1), run(steps=1, quantized=(0, 1))
    assert (plain.report.failure, coded.report.failure) == ("", "")
    assert plain.report.loss == coded.report.loss
    long = run()
    assert long.report.failure == ""
    assert long.report.loss < 0.8 * plain.report.loss


def test_the_adapter_without_a_head_trains_layers_alone(ready: Ready) -> None:
    assert bool(ready.trainee.layout.head) == ready.trainee.practice.has_head


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-1, 2)), min_size=2, max_size=60))
def test_pearson_is_numpys_and_adds_up(pairs: list[tuple[float, float]]) -> None:
    x, y = (np.array(side) for side in zip(*pairs))
    sums = regression.moments(x, y)
    found = regression.correlation(len(x), *(float(sums[name]) for name in ("x", "y", "xx", "yy", "xy")))
    if x.std() > 1e-3 and y.std() > 1e-3:
        assert found == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-6)
    assert -1 <= found <= 1


def test_spearman_of_cells_is_that_of_ranks_within_a_thousandth() -> None:
    draw = np.random.default_rng(0)
    x = draw.integers(0, 26, 1500) / 25
    y = 0.6 * x + 0.2 + draw.normal(0, 0.15, 1500)

    def ranks(values: np.ndarray) -> np.ndarray:
        _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[codes]

    exact = np.corrcoef(ranks(x), ranks(y))[0, 1]
    halves = regression.table(x[:700], y[:700]) + regression.table(x[700:], y[700:])
    assert regression.spearman(halves) == pytest.approx(exact, abs=1e-3)


def test_spans_begin_at_b_go_on_with_their_own_i_and_end_elsewhere() -> None:
    assert in_order(["I-x", "O", "B-y"]) == ("O", "B-x", "I-x", "B-y", "I-y")
    assert spans([0, 1, 2, 0, 3]) == {(1, 3, 0), (4, 5, 1)}
    assert spans([1, 1, 2, 4]) == {(0, 1, 0), (1, 3, 0), (3, 4, 1)}
    assert spans([2, 2, 0]) == {(0, 2, 0)}
    with pytest.raises(SpecError, match="no tag of a span"):
        in_order(["O", "person"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_head_in_chunks_is_plain_cross_entropy_in_value_and_gradient(dtype: torch.dtype, monkeypatch: Any) -> None:
    monkeypatch.setattr("fedquad.learn.language_head.CHUNK_ELEMENTS", 200)  # 3 rows a chunk
    torch.manual_seed(0)
    x, weight = torch.randn(11, 8, dtype=dtype, requires_grad=True), torch.randn(60, 8, dtype=dtype)
    targets = torch.randint(0, 60, (11,))
    losses = head_losses(x, weight, None, targets)
    (gradient,) = torch.autograd.grad(losses.mean(), x)
    plain = torch.nn.functional.cross_entropy((x @ weight.T).float(), targets, reduction="none")
    (exact,) = torch.autograd.grad(plain.mean(), x)
    torch.testing.assert_close(losses, plain)
    assert float((gradient - exact).norm() / exact.norm()) < (1e-5 if dtype == torch.float32 else 2e-2)


def test_a_metric_that_falls_is_better_below() -> None:
    perplexity = Metric(name="perplexity", direction="down", is_share=False)
    assert perplexity.best([3.0, 2.1, 2.5]) == 2.1
    assert (perplexity.say(2.1), perplexity.unit) == ("2.1", "")
    assert metric_of({}).name == "accuracy"
    assert metric_of({"metric": perplexity.to_json()}) == perplexity


class TestAnswers:
    """What of a conversation is learned."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_set(tmp_path / "set")
        write_model(tmp_path / "model", "llama", causal=True)
        return tmp_path

    def prepared(self, folder: Path, **columns: Any) -> Any:
        spec = a_spec(folder / "model", max_length=columns.pop("max_length", 16))
        data = DataSpec(name="tiny", source=str(folder / "set"), **columns)
        return tokens.read(Path(tokens.prepare(data, spec, 0, folder / "cache")["splits"]["test"]["path"]))

    def test_the_prompt_is_masked_and_the_answer_with_its_end_is_not(self, folder: Path) -> None:
        data = self.prepared(folder, **COLUMNS["causal_lm"])
        assert (data.labels != NO_LABEL).sum(axis=1).tolist() == [3] * ROWS  # two words and the end
        spoken = data.labels != NO_LABEL
        assert (data.labels[spoken] == data.input_ids[spoken]).all()
        assert (data.labels[spoken].reshape(ROWS, 3)[:, 2] == 2).all()

    def test_a_conversation_goes_through_the_tokenizers_own_template(self, folder: Path) -> None:
        path = folder / "model" / "tokenizer_config.json"
        template = "<s>{% for m in messages %} {{ m['content'] }} </s>{% endfor %}"
        path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
        messages = [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w3"}, {"role": "user", "content": "w4"}, {"role": "assistant", "content": "w5 w6"}]  # fmt: skip
        for split in ("train", "validation", "test"):
            (folder / "set" / f"{split}.jsonl").write_text(json.dumps({"said": messages}) + "\n")
        data = self.prepared(folder, messages_column="said")
        known = [None if label == NO_LABEL else int(label) for label in data.labels[0]]
        assert known[:11] == [None, None, None, None, 7, 2, None, None, 9, 10, 2]

    def test_what_a_template_puts_behind_the_end_of_an_answer_is_not_learned(self, folder: Path) -> None:
        path = folder / "model" / "tokenizer_config.json"
        template = "<s>{% for m in messages %} {{ m['content'] }} </s> w9{% endfor %}"
        path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
        data = self.prepared(folder, **COLUMNS["causal_lm"])
        assert (data.labels[data.labels != NO_LABEL].reshape(ROWS, 3)[:, 2] == 2).all()

    def test_another_template_makes_other_tokens(self, folder: Path) -> None:
        whole = self.prepared(folder, **COLUMNS["causal_lm"]).input_ids
        path = folder / "model" / "tokenizer_config.json"
        template = "{% for m in messages %} {{ m['content'] }} </s>{% endfor %}"
        path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
        assert (self.prepared(folder, **COLUMNS["causal_lm"]).input_ids != whole).any()

    def test_a_prompt_that_leaves_no_room_is_refused_with_its_length(self, folder: Path) -> None:
        with pytest.raises(DeviceError, match=r"prompt alone takes 6 tokens, and model\.max_length is 5"):
            self.prepared(folder, max_length=5, **COLUMNS["causal_lm"])

    def test_what_is_no_conversation_is_refused(self, folder: Path) -> None:
        for split in ("train", "validation", "test"):
            (folder / "set" / f"{split}.jsonl").write_text(
                json.dumps({"said": [{"role": "user", "content": "w1"}]}) + "\n"
            )
        with pytest.raises(DeviceError, match="no conversation"):
            self.prepared(folder, messages_column="said")

    def test_exact_match_is_what_greedy_generation_gives(self, folder: Path) -> None:
        ready = Ready("causal_lm", folder / "again")
        model, data = ready.trainee.model, ready.splits["test"]
        master = an_adapter(ready.trainee.layout)
        update = train(ready.trainee, ready.assignment(steps=150), master, ready.splits["train"], training=TrainingSpec(batch=16), key=(0, 0, 1, 0), round=1, based_on="")  # fmt: skip
        from fedquad.rounds.adapters import flatten, unflatten

        moved = {
            name: value + flatten(update.delta).get(name, np.float32(0)) for name, value in flatten(master).items()
        }
        counted = evaluate(ready.trainee, unflatten(moved), data, 0, ROWS, 16)
        exact = 0
        for row in range(ROWS):
            begin, end = np.flatnonzero(data.labels[row] != NO_LABEL)[[0, -1]]
            prompt = torch.tensor(data.input_ids[row : row + 1, :begin], dtype=torch.long)
            made = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=int(end - begin + 1), do_sample=False, pad_token_id=1, eos_token_id=2)  # fmt: skip
            exact += made[0, begin:].tolist() == data.labels[row, begin : end + 1].tolist()
        assert 0 < exact < ROWS
        assert int(counted.sums["exact"]) == exact


def test_a_device_without_a_layer_sits_out_where_no_head_learns() -> None:
    from pretend import begin, everyone, fleet

    from fedquad.rounds.round import plan_round

    known = everyone(3)
    frozen = replace(known, cost=replace(known.cost, head_bytes=0))
    made = discover.strategy("fedquad")
    state = begin(made, known)
    tight = fleet(0.1, 4, 6)
    assert len(plan_round(made, state, tight, known, seed=0).assignments) == 3
    assert [a.device for a in plan_round(made, state, tight, frozen, seed=0).assignments] == [1, 2]
