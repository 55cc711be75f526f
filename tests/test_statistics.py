"""Statistics that decide: times between evaluations, intervals over seeds, and what is said of them."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedquad.errors import SpecError
from fedquad.objective import Metric
from fedquad.rounds import comparison, statistics

CURVE = [(0.0, 0.33), (10.0, 0.53), (20.0, 0.73)]


def test_a_target_is_reached_on_the_line_between_two_evaluations() -> None:
    assert statistics.crossing(CURVE, 0.63) == pytest.approx(15.0)
    assert statistics.crossing(CURVE, 0.43) == pytest.approx(5.0)
    assert statistics.crossing(CURVE, 0.2) == 0.0
    assert statistics.crossing(CURVE, 0.74) is None
    assert statistics.crossing(CURVE[1:], 0.5) == 10.0  # where no start is known, not before the first evaluation


def test_a_mean_of_the_last_evaluations_is_not_fooled_by_one_that_was_lucky() -> None:
    lucky = [(0.0, 0.3), (1.0, 0.9), (2.0, 0.3), (3.0, 0.6), (4.0, 0.9)]
    assert statistics.crossing(lucky, 0.7) < 1.0  # type: ignore[operator]
    assert statistics.smoothed(lucky, 2) == [
        (0.0, 0.3),
        (1.0, 0.6),
        (2.0, 0.6),
        (3.0, pytest.approx(0.45)),
        (4.0, 0.75),
    ]
    assert statistics.crossing(statistics.smoothed(lucky, 2), 0.7) == pytest.approx(3 + 0.25 / 0.3)
    assert statistics.smoothed(lucky) == lucky


def test_a_budget_reads_the_curve_where_it_has_been() -> None:
    assert statistics.value_at(CURVE, 5.0) == pytest.approx(0.43)
    assert statistics.value_at(CURVE, 20.0) == pytest.approx(0.73)
    assert statistics.value_at(CURVE, 20.1) is None
    assert statistics.value_at(CURVE[1:], 5.0) is None


def test_the_area_is_the_mean_score_on_the_way() -> None:
    assert statistics.area(CURVE, 0.0, 20.0) == pytest.approx(0.53)
    assert statistics.area(CURVE, 5.0, 10.0) == pytest.approx(0.48)
    assert statistics.area(CURVE, 0.0, 30.0) is None


def test_a_speed_up_is_paired_by_seed() -> None:
    ours, others = {0: 10.0, 1: 100.0, 2: 20.0}, {2: 60.0, 1: 300.0, 0: 30.0}
    found = statistics.speed_up(ours, others)
    assert found is not None
    assert (found.mean, found.low, found.high, found.deviation) == (3.0, 3.0, 3.0, 0.0)
    assert statistics.is_told_apart(found)
    assert statistics.speed_up(ours, {**others, 1: None}) is None
    assert statistics.speed_up(ours, {0: 30.0}) is None
    assert statistics.speed_up({**ours, 1: None}, others) is None


def test_an_interval_that_holds_one_tells_nothing_apart() -> None:
    close = statistics.spread([0.9, 1.2, 1.05, 0.97, 1.1])
    assert close.low < 1 < close.high  # type: ignore[operator]
    assert statistics.is_told_apart(close) is False
    assert statistics.is_told_apart(statistics.spread([1.3, 1.2, 1.4])) is True
    assert statistics.is_told_apart(statistics.spread([1.3])) is None


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Of 200 samples of 30, 90 % at least: a bootstrap of percentiles is a little narrow."""
    draw = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        low, high = statistics.interval(draw.normal(2.0, 0.5, 30))
        held += low <= 2.0 <= high
    assert 180 <= held <= 199


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=8))
def test_an_interval_lies_within_its_numbers_and_is_the_same_every_time(values: list[float]) -> None:
    low, high = statistics.interval(values)
    assert (low, high) == statistics.interval(values)
    assert min(values) * 0.999999 <= low <= high <= max(values) * 1.000001
    assert low <= np.mean(values) * 1.000001


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.floats(0, 1))
def test_the_curve_has_the_target_s_score_where_it_crosses_it(scores: list[float], goal: float) -> None:
    curve = [(float(at), score) for at, score in enumerate(scores)]
    when = statistics.crossing(curve, goal)
    if when is None:
        assert max(scores) < goal
    elif when > 0:
        found = statistics.value_at(curve, when)
        assert found is not None
        assert math.isclose(found, goal, abs_tol=1e-9)
        assert all(score < goal for at, score in curve if at < when)


def arm(
    label: str, *scores: float, seed: int = 0, seconds: float = 10.0, start: float | None = 0.3, **digests: str
) -> dict[str, Any]:
    rounds = [
        {"round": n, "score": score, "elapsed_seconds": n * seconds, "round_seconds": seconds, "energy_joules": 5.0,
         "upload_bytes": 2, "download_bytes": 3, "participants": 4, "failures": 0}
        for n, score in enumerate(scores, 1)
    ]  # fmt: skip
    begun = None if start is None else {"score": start, "accuracy": start, "loss": 1.0}
    known = {"split": f"a{seed}", "trace": "b", "adapter": "c", "backbone": "d", "prices": "e", **digests}
    return {"label": label, "seed": seed, "start": begun, "rounds": rounds, "mean_wait_seconds": 1.0, "digests": known,
            "final_score": scores[-1] if scores else None}  # fmt: skip


def test_the_target_is_the_least_of_the_methods_best_and_everyone_s_time_to_it_is_interpolated() -> None:
    found = comparison.compare([arm("fedquad", 0.5, 0.7), arm("slow", 0.4, 0.6)])
    (target,) = found["targets"]
    assert (target["target"], target["rule"], target["left_out"]) == (0.6, "the least of the arms' best", [])
    rows = {row["label"]: row for row in target["rows"]}
    assert rows["fedquad"]["seconds"] == [pytest.approx(15.0)]
    assert rows["slow"]["seconds"] == [pytest.approx(20.0)]
    assert rows["slow"]["speed_up"]["mean"] == pytest.approx(20 / 15)
    assert found["reference"] == "fedquad"
    assert "says nothing of chance" in " ".join(found["said"])


def test_a_metric_that_falls_has_its_target_below_and_its_best_lowest() -> None:
    perplexity = Metric(name="perplexity", direction="down", is_share=False)
    arms = [arm("fedquad", 3.0, 2.0, start=5.0), arm("slow", 4.0, 3.0, start=5.0)]
    found = comparison.compare(arms, metric=perplexity)
    (target,) = found["targets"]
    assert (target["target"], target["rule"]) == (3.0, "the greatest of the arms' best")
    rows = {row["label"]: row for row in target["rows"]}
    assert (rows["fedquad"]["seconds"], rows["slow"]["seconds"]) == ([pytest.approx(10.0)], [pytest.approx(20.0)])
    assert found["said"][0] == "The lowest perplexity is fedquad's: 2."
    given = comparison.at_target(arms, 2.5, metric=perplexity)
    assert [one["rounds_to_target"] for one in given] == [2, None]
    assert given[0]["seconds_to_target"] == pytest.approx(15.0)


def test_who_hardly_learns_does_not_set_the_only_target() -> None:
    found = comparison.compare([arm("fedquad", 0.6, 0.8), arm("good", 0.5, 0.75), arm("flat", 0.35, 0.36)])
    first, second = found["targets"]
    assert (first["target"], second["target"]) == (0.36, 0.75)
    assert (second["left_out"], second["labels"]) == (["flat"], ["fedquad", "good"])
    assert "flat hardly learns here" in " ".join(found["said"])
    assert [one["target"] for one in comparison.compare([arm("a", 0.9), arm("b", 0.31)], target=0.8)["targets"]] == [
        0.8
    ]


def test_what_cannot_be_told_apart_is_said_in_words() -> None:
    ours = [arm("fedquad", 0.4, 0.9, seed=seed, seconds=s) for seed, s in enumerate((10, 11, 10, 12, 10))]
    near = [arm("near", 0.4, 0.9, seed=seed, seconds=s) for seed, s in enumerate((11, 10, 10, 11, 11))]
    far = [arm("far", 0.4, 0.9, seed=seed, seconds=s) for seed, s in enumerate((30, 31, 33, 30, 32))]
    said = comparison.compare([*ours, *near, *far])["said"]
    assert any("near" in line and "cannot be told apart" in line for line in said)
    assert any("far" in line and "cannot be told apart" not in line and "over 5 seeds" in line for line in said)


def test_an_arm_that_missed_the_target_with_a_seed_has_no_speed_up_and_it_is_said() -> None:
    arms = [
        arm("fedquad", 0.5, 0.9, seed=0),
        arm("fedquad", 0.5, 0.9, seed=1),
        arm("b", 0.5, 0.9, seed=0),
        arm("b", 0.5, 0.8, seed=1),
    ]
    found = comparison.compare(arms, target=0.85)
    row = next(row for row in found["targets"][0]["rows"] if row["label"] == "b")
    assert (row["reached"], row["over_seeds"], row["speed_up"]) == (1, None, None)
    assert any("1 of 2 seeds" in line for line in found["said"])


def test_budgets_are_the_least_that_all_arms_spent() -> None:
    found = comparison.compare([arm("a", 0.5, 0.7, seconds=10), arm("b", 0.4, 0.5, 0.6, seconds=5)])
    rows = {row["label"]: row for row in found["methods"]}
    assert rows["a"]["score_at_seconds"]["budget"] == 15
    assert rows["a"]["score_at_seconds"]["over_seeds"]["mean"] == pytest.approx(0.6)
    assert rows["a"]["score_at_joules"]["budget"] == 10
    assert rows["b"]["score_at_bytes"]["over_seeds"]["mean"] == pytest.approx(0.5)
    assert rows["b"]["area"]["over_seeds"]["mean"] == pytest.approx((0.35 + 0.45 + 0.55) / 3)


def test_an_old_campaign_without_a_start_is_compared_from_its_first_round_on() -> None:
    found = comparison.compare([arm("a", 0.5, 0.7, start=None), arm("b", 0.4, 0.6, start=None)])
    rows = {row["label"]: row for row in found["methods"]}
    assert rows["a"]["start_score"] is None
    assert rows["a"]["area"] == {"from": 10.0, "to": 20.0, "over_seeds": rows["a"]["area"]["over_seeds"]}
    assert rows["a"]["area"]["over_seeds"]["mean"] == pytest.approx(0.6)
    assert comparison.compare([])["said"] == ["No arm has finished a round yet."]


@pytest.mark.parametrize("kind", comparison.COMMON)
def test_arms_that_were_not_given_the_same_are_refused_by_what_differs(kind: str) -> None:
    comparison.refuse_unlike([arm("a", 0.5), arm("b", 0.5), arm("a", 0.5, seed=1)])
    with pytest.raises(SpecError, match=f"their {kind} differs"):
        comparison.refuse_unlike([arm("a", 0.5, **{kind: "x"}), arm("b", 0.5, **{kind: "y"})])
    without = arm("old", 0.5)
    without["digests"].pop(kind, None)
    comparison.refuse_unlike([arm("a", 0.5), without])  # an older campaign that did not note it


def test_a_campaign_whose_arms_differ_stays_readable_and_says_why_nothing_is_compared() -> None:
    found = comparison.of_one_campaign([arm("a", 0.5), arm("b", 0.5, split="other")])
    assert (found["targets"], found["methods"]) == ([], [])
    assert "their split differs" in found["said"][0]
