"""The embedded tasks that are no classification: grades and roles that mean what they say, and a model that learns them."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedquad import discover, rng
from fedquad.learn import tokens
from fedquad.learn.datasets import mini_roles, mini_sts
from fedquad.learn.evaluate import evaluate
from fedquad.learn.loop import train
from fedquad.learn.mini.language import likeness, stories
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.mini.language.logic import Event
from fedquad.learn.model import load
from fedquad.learn.tables import Request
from fedquad.objectives.token_classification import spans
from fedquad.rounds import adapters
from fedquad.spec import DataSpec, ModelSpec, TrainingSpec
from fedquad.types import Assignment

KISS = Event("dog", "kiss", "cat")


@pytest.mark.parametrize(
    ("other", "points"),
    [(KISS, 5.0), (Event("dog", "touch", "cat"), 4.0), (Event("cat", "kiss", "dog"), 3.0), (Event("mayor", "kiss", "judge"), 2.0), (Event("mayor", "hate", "judge"), 0.0)],
)  # fmt: skip
def test_a_grade_says_what_two_events_share_either_way_round(other: Event, points: float) -> None:
    assert likeness.grade(KISS, other) == likeness.grade(other, KISS) == points


def test_grades_cover_the_scale_and_splits_share_no_row() -> None:
    each = {split: mini_sts.load(Request(split=split, size=600)) for split in ("train", "test")}
    counts = Counter(each["train"].labels)
    assert {0.0, 5.0} <= set(counts)
    assert max(counts.values()) < 300
    rows = [set(zip(*table.columns.values())) for table in each.values()]
    assert not rows[0] & rows[1]


def test_each_role_is_one_span_and_what_is_told_in_passing_has_none() -> None:
    table = mini_roles.load(Request(split="train", size=300))
    for words, labels in zip(table.columns["words"], table.labels):
        assert len(words.split()) == len(labels)
        kinds = Counter(kind for _, _, kind in spans(labels))
        assert kinds[1] <= 1 >= kinds[0]
        named = [words.split()[begin:end] for begin, end, kind in spans(labels) if kind < 2]
        assert all(name[0] == "the" for name in named)


def test_a_storys_question_has_one_answer_which_is_told() -> None:
    dice = Dice(rng.stream(0, "stories"))
    for _ in range(200):
        story = stories.draw(dice, 2)
        fact = story.question.fact
        assert fact in story.events
        assert fact.subject in stories.reply(story)
        assert stories.ask(dice, story).endswith("?")


@pytest.mark.parametrize(("name", "gain"), [("mini-sts", 0.15), ("mini-roles", 0.3)])
def test_the_embedded_backbone_learns_them(name: str, gain: float, tmp_path: Path) -> None:
    model = ModelSpec(name="mini", max_length=32)
    found = tokens.prepare(DataSpec(name=name, train=600, validation=16, test=200), model, 0, tmp_path)
    data, test = (tokens.read(Path(found["splits"][split]["path"])) for split in ("train", "test"))
    trainee = load(model, found["labels"], 8, found["objective"])
    layers = tuple(range(12))
    master = adapters.initial(trainee.layout, 8, 0)
    given: Any = {"device": 0, "present": layers, "trained": layers, "ranks": (8,) * 12, "learning_rate": 1e-2}
    done = train(trainee, Assignment(**given, steps=100), master, data, training=TrainingSpec(batch=16), key=(0, 0, 1, 0), round=1, based_on="")  # fmt: skip
    start = adapters.flatten(master)
    moved = {key: start[key] + value for key, value in adapters.flatten(done.delta).items()}
    score = discover.objective(found["objective"]).score
    before, after = (
        score(evaluate(trainee, adapters.unflatten({**start, **more}), test, 0, 200, 64).sums)[found["metrics"][0]]
        for more in ({}, moved)
    )
    assert after > before + gain, (before, after)
    assert np.isfinite(done.report.loss)
