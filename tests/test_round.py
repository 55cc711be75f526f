"""The golden round, by hand, and what happens when devices do not answer."""

from dataclasses import replace

import numpy as np
import pytest
from fleet_of_three import adapter, answer, assignment, pricing, state, statuses, world

from fedquad import wire
from fedquad.errors import MethodError
from fedquad.prices.cost import estimate
from fedquad.rounds import adapters
from fedquad.rounds import round as rounds
from fedquad.rounds.strategy import Strategy
from fedquad.types import Assignment

COST = pricing()
MEMORY = COST.memory_of_depth(12)
START = adapter(layers=2, fill=10)
PLANNED = (assignment(0, (1,)), assignment(1, (0, 1)), assignment(2, (1,)))


def two_layer_world(**changes: object) -> rounds.World:
    return world(COST, layers=2, **changes)


def planning(*assignments: Assignment) -> Strategy:
    return Strategy(plan=lambda state, statuses, world, rng: assignments)


def plan_of(strategy: Strategy, **changes: object) -> rounds.Plan:
    return rounds.plan_round(strategy, state(START), statuses([MEMORY] * 3), two_layer_world(**changes), seed=0)


def finish(strategy: Strategy, updates: list, quorum: float = 0.5) -> rounds.Outcome:  # type: ignore[type-arg]
    sent = {a.device: adapters.digest(START) for a in PLANNED}
    return rounds.finish_round(strategy, state(START), plan_of(strategy), sent, updates, quorum=quorum)


def test_the_golden_round() -> None:
    """Layers start at 10 and 11, the head at 0. Device 0 adds 1 to layer 1, device 1 adds 3 to both, device 2 adds 5 to layer 1."""
    updates = [answer(a, START, fill, seconds=t) for a, fill, t in zip(PLANNED, (1.0, 3.0, 5.0), (10.0, 40.0, 25.0))]
    outcome = finish(planning(*PLANNED), updates)
    merged = outcome.state
    assert (merged.adapter.layers[0]["q"].a == 13).all()  # 10 + 3
    assert (merged.adapter.layers[1]["q"].b == 14).all()  # 11 + (1 + 3 + 5) / 3
    assert (merged.adapter.head["classifier.weight"] == 3).all()
    assert list(merged.gradient_norms) == [3.0, 3.0]
    assert (merged.round, merged.clock_seconds, merged.mean_seconds) == (1, 40.0, 25.0)
    assert outcome.timing.mean_wait_seconds == 15
    assert outcome.failures == {}


def test_a_layer_nobody_trained_keeps_its_gradient_norm_and_its_bits() -> None:
    top = (assignment(0, (1,)),)
    outcome = rounds.finish_round(
        planning(*top), state(START, gradient_norms=np.array([7.0, 8.0])), plan_of(planning(*top)),
        {0: adapters.digest(START)}, [answer(top[0], START, 2.0)], quorum=0.5,
    )  # fmt: skip
    assert list(outcome.state.gradient_norms) == [7.0, 2.0]
    assert outcome.state.adapter.layers[0]["q"] is START.layers[0]["q"]


def test_failed_and_refused_devices_are_counted_with_their_reason_and_left_out() -> None:
    nan = answer(PLANNED[1], START, float("nan"))
    lost = wire.failed(2, 1, adapters.digest(START), "out of memory", seconds=60.0)
    outcome = finish(planning(*PLANNED), [answer(PLANNED[0], START, 1.0, seconds=10.0), nan, lost], quorum=0.3)
    assert set(outcome.failures) == {1, 2}
    assert outcome.failures[2] == "out of memory"
    assert "NaN" in outcome.failures[1]
    assert (outcome.state.adapter.layers[1]["q"].a == 12).all()
    assert outcome.timing.round_seconds == 60


def test_below_the_quorum_only_time_passes() -> None:
    lost = [wire.failed(a.device, 1, adapters.digest(START), "it never answered", seconds=5.0) for a in PLANNED[:2]]
    outcome = finish(planning(*PLANNED), [*lost, answer(PLANNED[2], START, 1.0, seconds=9.0)])
    assert not outcome.is_quorate
    assert outcome.state.adapter is START
    assert outcome.state.round == 0
    assert outcome.state.clock_seconds == 9


def test_strict_memory_refuses_what_does_not_fit_and_flag_lets_it_run() -> None:
    small = statuses([MEMORY, MEMORY, 10])
    asked = planning(*PLANNED)
    strict = rounds.plan_round(asked, state(START), small, two_layer_world(), seed=0)
    flagged = rounds.plan_round(asked, state(START), small, two_layer_world(memory_policy="flag"), seed=0)
    assert (strict.size, strict.over_memory, list(strict.refused)) == (2, (2,), [2])
    assert (flagged.size, flagged.over_memory, list(flagged.refused)) == (3, (2,), [])
    assert "10 are free" in strict.refused[2]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (replace(PLANNED[0], device=5), "is not available"),
        (replace(PLANNED[0], present=(1, 0)), "present layers"),
        (replace(PLANNED[0], present=(0, 2)), "present layers"),
        (replace(PLANNED[0], trained=(2,)), "not all present"),
        (replace(PLANNED[0], quantized=(0,)), "does not train"),
        (replace(PLANNED[0], ranks=(2,)), "ranks"),
        (replace(PLANNED[0], steps=0), "0 steps"),
    ],
)
def test_a_plan_that_breaks_its_contract_is_the_methods_fault(wrong: Assignment, reason: str) -> None:
    with pytest.raises(MethodError, match=reason):
        plan_of(planning(wrong))
    with pytest.raises(MethodError, match="planned twice"):
        plan_of(planning(PLANNED[0], PLANNED[0]))


def test_sampling_is_the_same_for_every_method_and_asks_at_least_one() -> None:
    fleet = statuses([MEMORY] * 40)
    chosen = rounds.sample(fleet, 0.25, seed=1, round=3).participants
    assert len(chosen) == 10
    assert rounds.sample(fleet, 0.25, seed=1, round=3).participants == chosen
    assert rounds.sample(fleet, 0.25, seed=1, round=4).participants != chosen
    assert len(rounds.sample(fleet, 0.001, seed=1, round=3).participants) == 1
    assert rounds.sample(fleet, 1.0, seed=1, round=3) is fleet


def test_every_assignment_is_priced_by_the_one_cost_model() -> None:
    fleet = statuses([MEMORY] * 3)
    plan = rounds.plan_round(planning(*PLANNED), state(START), fleet, two_layer_world(), seed=0)
    assert plan.estimates == tuple(estimate(a, COST, fleet[a.device]) for a in PLANNED)
