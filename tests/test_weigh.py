"""What a device counts by in a merge (training.weigh): its examples, or the tokens of its answers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fleet_of_three import adapter, answer, assignment, state, world
from pretend import METHODS
from test_objectives import COLUMNS
from tiny import a_spec, an_adapter, an_assignment, examples, write_model

from fedquad import discover, wire
from fedquad.errors import SpecError
from fedquad.learn import tokens
from fedquad.learn.loop import train
from fedquad.learn.model import load
from fedquad.rounds import aggregate
from fedquad.spec import ArmSpec, CampaignSpec, DataSpec, TrainingSpec
from tasks.prepare import refuse_unit

UNIFORM = [aggregate.uniform, aggregate.by_steps, aggregate.per_length(aggregate.uniform)]


def counted(unit: str) -> TrainingSpec:
    return TrainingSpec(steps=3, update_bound=0, weigh=unit)


@pytest.mark.parametrize("weigh", UNIFORM)
@pytest.mark.parametrize(("unit", "share"), [("examples", 0.25), ("tokens", 0.75)])
def test_a_weight_is_times_what_a_device_learned_from(
    weigh: aggregate.Weigh, unit: aggregate.Unit, share: float
) -> None:
    """10 examples of 30 tokens beside 30 examples of 10 tokens; both took three steps at one rate."""
    start = adapter(layers=2)
    asked = [assignment(i, (1,)) for i in range(2)]
    amounts = ({"examples": 10, "tokens": 30}, {"examples": 30, "tokens": 10})
    answers = [(a, answer(a, start, fill, **has)) for a, fill, has in zip(asked, (4.0, 8.0), amounts)]
    merged = aggregate.mean(start, aggregate.total(start, answers, aggregate.by_amount(weigh, unit)))
    np.testing.assert_allclose(merged.layers[1]["q"].a, 1 + share * 4 + (1 - share) * 8)
    np.testing.assert_allclose(merged.head["classifier.weight"], share * 4 + (1 - share) * 8)
    assert aggregate.by_amount(weigh, "") is weigh


def test_examples_that_a_method_weighs_by_count_once() -> None:
    asked, start = assignment(0, (0, 1)), adapter()
    report = answer(asked, start, 1.0, examples=10, tokens=30).report
    assert aggregate.by_amount(aggregate.by_examples, "examples")(asked, report) == aggregate.by_examples(asked, report)
    assert aggregate.by_amount(aggregate.by_examples, "tokens")(asked, report).head == 30


@pytest.mark.parametrize("method", METHODS)
def test_every_method_heeds_it(method: str) -> None:
    """Two devices that train the same layers: by tokens the second counts nine times as much as the first."""
    made = discover.strategy(method)
    start = adapter(layers=12)
    asked = [assignment(i, tuple(range(12)), layers=12) for i in range(2)]

    def moved(unit: str, first: int, second: int) -> float:
        answers = [(a, answer(a, start, fill, tokens=n, lora_norm=1.0)) for a, fill, n in zip(asked, (1.0, 2.0), (first, second))]  # fmt: skip
        known = world(training=counted(unit), layers=12)
        before = state(start, memo=made.init(start, known))
        after = made.view(made.merge(before, iter(answers), known), known)
        return float(after.layers[11]["q"].a[0, 0]) - 11

    assert moved("", 10, 90) == pytest.approx(1.5)
    assert moved("examples", 10, 90) == pytest.approx(1.5)
    assert moved("tokens", 10, 90) == pytest.approx(1.9)


def test_a_device_reports_the_tokens_of_its_answers_and_the_report_travels(tmp_path: Path) -> None:
    rows = [{"text": "w1 w2", "answer": "w3 " * size} for size in (1, 2, 4)]
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = a_spec(write_model(tmp_path / "model", "llama", causal=True), max_length=16)
    data = DataSpec(name="tiny", source=str(tmp_path), **COLUMNS["causal_lm"])
    made = tokens.prepare(data, spec, 0, tmp_path / "cache")
    shard = tokens.read(Path(made["splits"]["train"]["path"]))
    trainee = load(spec, made["labels"], 4, "causal_lm")
    assert shard.answer_tokens == 1 + 2 + 4 + 3 == 10  # each answer and the token that ends it
    assert shard.rows([2]).answer_tokens == 5
    done = train(trainee, an_assignment(steps=1), an_adapter(trainee.layout), shard, training=TrainingSpec(batch=2), key=(0,), round=1, based_on="")  # fmt: skip
    assert (done.report.failure, done.report.examples, done.report.tokens) == ("", 3, 10)
    assert wire.answer(done)[0]["report"]["tokens"] == 10
    assert examples().answer_tokens == 0


def test_tokens_are_refused_where_nothing_is_answered() -> None:
    spec = CampaignSpec(training=TrainingSpec(weigh="tokens"), arms=(ArmSpec(method="fedlora"),))
    with pytest.raises(SpecError, match="which has no answers; there is examples"):
        refuse_unit(spec, discover.objective("classification"))
    refuse_unit(spec, discover.objective("causal_lm"))
    refuse_unit(replace(spec, training=TrainingSpec(weigh="examples")), discover.objective("regression"))
