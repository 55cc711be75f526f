"""The golden round, by hand, and what happens when devices do not answer."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from fleet_of_three import adapter, answer, assignment, memory_of_depth, pricing, state, statuses, world

from fedquad import wire
from fedquad.errors import MethodError
from fedquad.prices.cost import estimate
from fedquad.rounds import adapters, facts
from fedquad.rounds import round as rounds
from fedquad.rounds.strategy import Answers, Strategy
from fedquad.types import Assignment, Memo, Report, ServerState

COST = pricing()
MEMORY = memory_of_depth(COST, 12)
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
    return rounds.finish_round(
        strategy, state(START), plan_of(strategy), sent, updates, two_layer_world(), quorum=quorum
    )


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
        {0: adapters.digest(START)}, [answer(top[0], START, 2.0)], two_layer_world(), quorum=0.5,
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


@pytest.mark.parametrize("read", [0, 1, 2, 3])
def test_the_ledger_is_complete_whatever_a_merge_reads_of_the_answers(read: int) -> None:
    noted = []

    def combine(before: ServerState, answers: Answers, world: rounds.World) -> ServerState:
        for _ in itertools.islice(answers, read):
            pass
        return before

    def note(memo: Memo, a: Assignment, report: Report) -> Memo:
        noted.append(a.device)
        return {**memo, f"seen-{a.device}": report.seconds}

    made = Strategy(plan=lambda state, statuses, world, rng: PLANNED, combine=combine, note=note)
    updates = [answer(a, START, fill, seconds=t) for a, fill, t in zip(PLANNED, (1.0, 3.0, 5.0), (10.0, 40.0, 25.0))]
    outcome = finish(made, updates, quorum=1.0)
    assert outcome.is_quorate
    assert (outcome.answered, outcome.timing.round_seconds, outcome.state.mean_seconds) == (3, 40.0, 25.0)
    assert list(outcome.state.gradient_norms) == [3.0, 3.0]
    assert noted == [0, 1, 2]
    assert outcome.state.memo == {"seen-0": 10.0, "seen-1": 40.0, "seen-2": 25.0}


def test_a_refused_answer_is_not_noted() -> None:
    made = Strategy(
        plan=lambda state, statuses, world, rng: PLANNED, note=lambda memo, a, report: {**memo, str(a.device): 1.0}
    )
    updates = [answer(a, START, fill) for a, fill in zip(PLANNED, (1.0, float("nan"), 5.0))]
    assert set(finish(made, updates).state.memo) == {"0", "2"}


def test_a_lost_device_is_charged_the_time_it_was_waited_for() -> None:
    lost = wire.failed(2, 1, adapters.digest(START), "no answer within 3600 s", seconds=3600.0)
    outcome = finish(planning(*PLANNED), [*(answer(a, START, 1.0, seconds=5.0) for a in PLANNED[:2]), lost])
    assert outcome.timing.round_seconds == 3600
    assert outcome.state.clock_seconds == 3600
    assert outcome.state.mean_seconds == 5


def test_no_seconds_are_no_seconds() -> None:
    outcome = finish(planning(*PLANNED), [answer(a, START, 1.0, seconds=0.0) for a in PLANNED])
    assert outcome.timing.round_seconds == 0


def test_a_survey_takes_what_it_took_and_a_failed_probe_did_not_answer() -> None:
    price = estimate(PLANNED[0], COST, statuses([MEMORY])[0])
    probes = tuple(
        rounds.Probe(assignment=a, estimate=price, seconds=seconds, failure=failure)
        for a, seconds, failure in zip(PLANNED, (2.0, 4.0, 9.0), ("", "", "it fell"))
    )
    plan = replace(plan_of(planning(*PLANNED)), survey=probes)
    updates = [answer(a, START, 1.0, seconds=t) for a, t in zip(PLANNED, (10.0, 40.0, 25.0))]
    sent = {a.device: adapters.digest(START) for a in PLANNED}
    done = rounds.finish_round(planning(*PLANNED), state(START), plan, sent, updates, two_layer_world(), quorum=0.5)
    assert done.timing.round_seconds == 40 + 9
    assert done.state.mean_seconds == 25 + 3
    scores = facts.Scores(score=0.5, loss=None, validation_score=0.5, validation_loss=None)
    kept = facts.round_facts(plan, done, statuses([MEMORY] * 3), scores, {})
    assert [(row["seconds"], row["failure"]) for row in kept.survey] == [(2.0, ""), (4.0, ""), (9.0, "it fell")]
    trained = sum(e.upload_bytes for _, e in plan.asked)
    assert kept.upload_bytes == trained + 2 * price.upload_bytes


def test_a_layer_nobody_has_measured_is_unknown_and_says_so_in_the_facts() -> None:
    top = (assignment(0, (1,)),)
    plan = plan_of(planning(*top))
    done = rounds.finish_round(
        planning(*top), state(START), plan, {0: adapters.digest(START)}, [answer(top[0], START, 2.0)],
        two_layer_world(), quorum=0.5,
    )  # fmt: skip
    scores = facts.Scores(score=0.5, loss=None, validation_score=0.5, validation_loss=None)
    kept = facts.round_facts(plan, done, statuses([MEMORY] * 3), scores, {})
    assert kept.gradient_norms == (None, 2.0)
    json.dumps(kept.to_json(), allow_nan=False)


def test_one_depth_for_everyone_over_five_rounds_is_found() -> None:
    def round_of(*depths: int) -> dict[str, object]:
        return {"assignments": [{"trained": list(range(depth))} for depth in depths]}

    assert facts.locked_depth([round_of(6, 6, 6)] * 5) == 6
    assert facts.locked_depth([round_of(6, 6, 6)] * 4) is None
    assert facts.locked_depth([*[round_of(6, 6, 6)] * 4, round_of(6, 6, 5)]) is None
    assert facts.locked_depth([*[round_of(6, 6)] * 4, round_of(5, 5)]) is None
    assert facts.locked_depth([round_of(6)] * 5) is None


@pytest.mark.parametrize(("ranks", "is_fine"), [((1, 1), True), ((2, 0), False), ((0, 2), False), ((2,), False)])
def test_a_plan_gives_every_layer_a_rank_of_at_least_one(ranks: tuple[int, ...], is_fine: bool) -> None:
    one = assignment(0, (1,), ranks=ranks)
    if is_fine:
        rounds.check_plan([one], statuses([10**12]), two_layer_world())
    else:
        with pytest.raises(MethodError, match="ranks"):
            rounds.check_plan([one], statuses([10**12]), two_layer_world())


def test_a_device_trains_one_step_at_least_and_a_probe_may_train_none() -> None:
    rounds.check_plan([assignment(0, (1,), steps=1)], statuses([MEMORY]), two_layer_world())
    resting = assignment(0, (1,), steps=0)
    with pytest.raises(MethodError, match="device 0 has 0 steps"):
        rounds.check_plan([resting], statuses([MEMORY]), two_layer_world())
    asking = replace(planning(), survey=lambda state, statuses, world: (resting,))
    asked = rounds.plan_survey(asking, state(START), statuses([MEMORY]), two_layer_world())
    assert [a for a, _ in asked] == [resting]


def test_a_survey_is_checked_as_a_plan_is() -> None:
    asking = replace(planning(), survey=lambda state, statuses, world: (assignment(0, (1,)),) * 2)
    with pytest.raises(MethodError, match="device 0 is planned twice"):
        rounds.plan_survey(asking, state(START), statuses([MEMORY]), two_layer_world())
