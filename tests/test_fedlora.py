from itertools import pairwise

import numpy as np
import pytest
from fleet_of_three import adapter, memory_of_depth, pricing, state, statuses, world
from hypothesis import given
from hypothesis import strategies as st

from fedquad import rng
from fedquad.discover import strategy
from fedquad.prices.cost import estimate
from fedquad.rounds import adapters
from fedquad.rounds import round as rounds
from fedquad.spec import TrainingSpec
from fedquad.types import Assignment

COST = pricing()


def planned(variant: str, memory: list[int]) -> tuple[Assignment, ...]:
    start = state(adapter(layers=12), gradient_norms=np.ones(12))
    return strategy(f"fedlora:{variant}").plan(start, statuses(memory), world(COST), rng.stream(0))


def test_each_device_trains_as_many_top_layers_as_its_memory_holds() -> None:
    depths = [1, 5, 12]
    plan = planned("depth", [memory_of_depth(COST, d) for d in depths])
    assert [a.trained for a in plan] == [tuple(range(12 - d, 12)) for d in depths]
    assert all(a.present == tuple(range(12)) and a.quantized == () for a in plan)


def test_a_device_without_room_for_one_layer_sits_out() -> None:
    assert planned("depth", [memory_of_depth(COST, 0)]) == ()


def test_exclusive_asks_only_devices_that_hold_all_layers() -> None:
    plan = planned("exclusive", [memory_of_depth(COST, d) for d in (11, 12, 12)])
    assert [a.device for a in plan] == [1, 2]


def test_exclusive_rests_when_nobody_holds_all_layers() -> None:
    made, known = strategy("fedlora:exclusive"), world(COST)
    start = state(adapter(layers=12), mean_seconds=7.0)
    plan = rounds.plan_round(made, start, statuses([memory_of_depth(COST, 11)]), known, seed=0)
    outcome = rounds.finish_round(made, start, plan, {}, (), known, quorum=0.5)
    assert (outcome.is_quorate, outcome.state.round, outcome.state.mean_seconds) == (True, 1, 7.0)
    assert adapters.digest(outcome.state.adapter) == adapters.digest(start.adapter)
    other = rounds.finish_round(strategy("fedlora"), start, plan, {}, (), known, quorum=0.5)
    assert not other.is_quorate


def test_the_oracle_ignores_memory() -> None:
    assert [len(a.trained) for a in planned("oracle", [1, 1, 1])] == [12, 12, 12]
    assert strategy("fedlora:oracle").memory_policy == "flag"


@given(st.integers(0, 40_000_000_000))
def test_no_assignment_exceeds_the_memory(memory: int) -> None:
    fleet = statuses([memory])
    for a in planned("depth", [memory]):
        assert estimate(a, COST, fleet[0]).peak_bytes <= memory


def test_the_learning_rate_falls_as_a_cosine_over_the_rounds() -> None:
    rates = [world(COST).learning_rate(r) for r in range(1, 11)]
    assert rates[0] == 3e-3
    assert all(a > b for a, b in pairwise(rates))
    # half of 1 + cos of 0, 90 and 144 degrees: a straight line would have 0.5 and 0.2
    assert [rate / 3e-3 for rate in (rates[5], rates[8])] == pytest.approx([0.5, 0.0954915], rel=1e-6)


def test_an_epochs_last_batch_may_be_smaller_and_is_a_step_all_the_same() -> None:
    training = TrainingSpec(batch=8)
    assert world(COST, training=training, examples=np.array([8, 9, 16, 17, 1])).steps.tolist() == [1, 2, 2, 3, 1]
    assert world(COST, training=TrainingSpec(batch=8, steps=5), examples=np.array([8, 9])).steps.tolist() == [5, 5]
