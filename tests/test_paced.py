"""Steps by time: the least end for the asked number of steps, within bounds, of any method's plan."""

import heapq
from dataclasses import replace

import numpy as np
import pytest
from fleet_of_three import adapter, memory_of_depth, pricing, state, statuses, world
from hypothesis import given
from hypothesis import strategies as st

from fedquad import discover, rng
from fedquad.errors import SpecError, UnknownNameError
from fedquad.prices.cost import estimate
from fedquad.rounds import paced
from fedquad.spec import TrainingSpec
from fedquad.types import Assignment, Statuses

COST = pricing()
LAYERS = COST.layers
SPEED = [0.25e12, 0.5e12, 1.5e12]
DEVICES = st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(0, 1e3), st.integers(1, 40)), min_size=1, max_size=8)


def by_hand(total: int, step: list[float], traffic: list[float], least: list[int], most: list[int]) -> list[int]:
    """One step after the other, each to whoever ends it first."""
    taken = list(least)
    queue = [(traffic[i] + (taken[i] + 1) * step[i], i) for i in range(len(step)) if taken[i] < most[i]]
    heapq.heapify(queue)
    for _ in range(total - sum(taken)):
        _, i = heapq.heappop(queue)
        taken[i] += 1
        if taken[i] < most[i]:
            heapq.heappush(queue, (traffic[i] + (taken[i] + 1) * step[i], i))
    return taken


@given(devices=DEVICES, least=st.floats(0.01, 1), most=st.floats(1, 20), enough=st.sampled_from([0, 1000]))
def test_no_other_deal_of_as_many_steps_ends_earlier(
    devices: list[tuple[float, float, int]], least: float, most: float, enough: int
) -> None:
    step, traffic, asked = (np.array(column) for column in zip(*devices))
    fewest, greatest = paced.bounds(asked, least, most)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paced, "ENOUGH", enough)
        dealt = paced.deal(int(asked.sum()), step, traffic, fewest, greatest)
    expected = by_hand(int(asked.sum()), list(step), list(traffic), list(fewest), list(greatest))
    assert dealt.sum() == asked.sum()
    assert (fewest <= dealt).all()
    assert (dealt <= greatest).all()
    moves = dealt > fewest
    assert np.max((traffic + dealt * step)[moves], initial=0.0) <= np.max(
        (traffic + np.array(expected) * step)[np.array(expected) > fewest], initial=0.0
    ) * (1 + 1e-9)


def test_of_steps_that_end_at_once_the_first_in_the_plan_are_taken() -> None:
    one, three = np.ones(4), np.full(4, 3)
    assert list(paced.deal(10, one, one, np.zeros(4, np.int64), three)) == [3, 3, 2, 2]


def test_nobody_is_dealt_nothing() -> None:
    none, no_time = np.zeros(0, np.int64), np.zeros(0)
    assert len(paced.deal(0, no_time, no_time, none, none)) == 0


def plan(method: str, there: Statuses, mean: float = 30.0, **training: float) -> tuple[Assignment, ...]:
    known = world(COST, training=TrainingSpec(steps=8, learning_rate=0.01, **training))  # type: ignore[arg-type]
    made = discover.strategy(method)
    start = adapter(layers=LAYERS, rank=made.greatest_rank(known.rank))
    begun = state(start, round=1, gradient_norms=1.05 ** np.arange(LAYERS), mean_seconds=mean)
    return made.plan(replace(begun, memo=made.init(start, known)), there, known, rng.stream(0))


@pytest.mark.parametrize("method", ["fedlora", "hetlora", "legend", "inclusivefl"])
def test_any_methods_plan_is_kept_but_for_the_steps(method: str) -> None:
    there = statuses([memory_of_depth(COST, 9)] * 3, SPEED)
    plain, dealt = plan(method, there), plan(f"{method}:paced", there)
    assert [replace(one, steps=8) for one in dealt] == list(plain)
    assert sum(one.steps for one in dealt) == 24
    ends, before = ([estimate(one, COST, there[one.device]).seconds for one in each] for each in (dealt, plain))
    assert max(ends) < 0.7 * max(before)
    slowest = max(end / one.steps for end, one in zip(ends, dealt))
    assert max(ends) - min(ends) <= slowest  # nobody waits for longer than a step takes


def test_the_bounds_are_the_specs() -> None:
    there = statuses([memory_of_depth(COST, 9)] * 3, [1e9, 0.5e12, 1.5e12])
    assert [one.steps for one in plan("fedlora:paced", there)] == [2, 5, 17]
    assert [one.steps for one in plan("fedlora:paced", there, least_steps=0.5, most_steps=1.5)] == [4, 8, 12]
    assert [one.steps for one in plan("fedlora:paced", there, least_steps=1, most_steps=1)] == [8, 8, 8]
    for key, value in (("least_steps", 0), ("least_steps", 1.1), ("most_steps", 0.9)):
        with pytest.raises(SpecError, match=f"training.{key}"):
            TrainingSpec(**{key: value})


def test_fedquad_takes_what_brings_most_a_second() -> None:
    there = statuses([memory_of_depth(COST, depth) for depth in (3, 7, 10)], SPEED)
    first, later = plan("fedquad:paced", there, 0.0), plan("fedquad:paced", there)
    assert [len(one.trained) for one in first] == [3, 7, 10]  # nothing is known yet
    gain = np.cumsum(1.05 ** np.arange(LAYERS)[::-1])
    for one, begun in zip(later, first):
        status = there[one.device]
        assert estimate(one, COST, status).peak_bytes <= status.memory_bytes
        rates = [
            gain[len(each.trained) - 1] / estimate(replace(each, steps=8), COST, status).seconds
            for each in (one, begun)
        ]
        assert rates[0] >= rates[1]
    assert plan("fedquad:paced", there, 1.0) == later, "t_avg has no say in it"
    for plans in (first, later):
        assert sum(one.steps for one in plans) == 24


def test_a_file_of_ones_own_can_be_paced_and_nonsense_cannot(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "mine.py").write_text("from fedquad.strategies.fedlora import strategy\n")
    there = statuses([memory_of_depth(COST, 9)] * 3, SPEED)
    assert plan(f"{tmp_path / 'mine.py'}:paced", there) == plan("fedlora:paced", there)
    with pytest.raises(UnknownNameError, match="paced"):
        discover.strategy("fedlora:passed")
    with pytest.raises(UnknownNameError, match="paced"):
        discover.strategy("legend:passed")
