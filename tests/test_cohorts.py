"""Who trains together: by the plan alone, alike but for depth, as evenly as can be; and a fleet that does so."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from fleet_of_three import adapter as an_adapter
from fleet_of_three import assignment, layout, pricing, state, statuses, world
from hypothesis import given
from hypothesis import strategies as st

from fedquad.errors import SpecError
from fedquad.fleets import fleet
from fedquad.learn.jobs import Cohort, Train
from fedquad.learn.pool import WorkerDied
from fedquad.rounds import cohorts, facts
from fedquad.rounds import round as rounds
from fedquad.spec import CampaignSpec, DataSpec, FleetSpec, ModelSpec, TrainingSpec
from fedquad.types import Assignment, Local
from tasks.fleet import Job
from tasks.prepare import most_in_a_stack
from tasks.simulated_fleet import SimulatedFleet

TOP = ((), (11,), (6, 7, 8, 9, 10, 11), tuple(range(12)))


def told(device: int, **other: Any) -> Assignment:
    return assignment(device, **({"trained": TOP[3], "layers": 12} | other))


def test_devices_of_any_depth_train_together_deepest_first_and_as_evenly_as_can_be() -> None:
    fleet_of_ten = [told(device, trained=TOP[device % 4]) for device in range(10)]
    assert cohorts.compose(fleet_of_ten, 4) == ((3, 7), (2, 6, 1), (5, 9), (0, 4, 8))
    assert cohorts.compose(fleet_of_ten, 16) == ((3, 7, 2, 6, 1, 5, 9, 0, 4, 8),)
    assert cohorts.compose(fleet_of_ten, 5) == ((3, 7, 2, 6, 1), (5, 9, 0, 4, 8))
    assert cohorts.compose(fleet_of_ten[:2], 1) == ((1,), (0,))
    assert cohorts.compose(fleet_of_ten[:3], 1) == ((2,), (1,), (0,))
    assert cohorts.compose(fleet_of_ten, 0) == ()
    assert cohorts.compose([], 4) == ()


@pytest.mark.parametrize(
    "other",
    [{"steps": 4}, {"learning_rate": 0.2}, {"trained": (0, 3)}, {"present": TOP[2], "ranks": (2,) * 6}],
)
def test_who_is_told_something_else_is_in_another_cohort(other: dict[str, Any]) -> None:
    odd = told(7, **({"trained": TOP[2]} | other))
    assert cohorts.compose([told(0), odd, told(1)], 8) == ((0, 1), (7,))


@pytest.mark.parametrize("other", [{"rank": 3}, {"least_ranks": (1,) * 12}, {"local": Local(tail_penalty=0.1)}])
def test_ranks_pruning_and_a_penalty_are_each_ones_own_in_a_stack(other: dict[str, Any]) -> None:
    odd = told(7, **({"trained": TOP[2]} | other))
    assert cohorts.compose([told(0), odd, told(1)], 8) == ((0, 1, 7),)


@pytest.mark.parametrize("other", [{"quantized": (11,)}, {"prefix": 1}, {"local": Local(probe_batches=1)}])
def test_who_does_more_than_train_steps_aside(other: dict[str, Any]) -> None:
    assert cohorts.compose([told(0), told(7, **other), told(1)], 8) == ((0, 1),)


@given(st.lists(st.tuples(st.sampled_from(TOP), st.integers(1, 2)), max_size=40), st.integers(2, 9), st.randoms())
def test_every_device_has_one_place_whatever_the_order(plan: list[Any], most: int, dice: Any) -> None:
    told_all = [told(device, trained=trained, steps=steps) for device, (trained, steps) in enumerate(plan)]
    found = cohorts.compose(told_all, most)
    assert sorted(device for cohort in found for device in cohort) == list(range(len(plan)))
    assert max(map(len, found), default=1) <= most
    dice.shuffle(told_all)
    assert set(cohorts.compose(told_all, most)) == set(found)


def test_the_rule_is_one_on_shapes() -> None:
    """Twice the tokens are half the stack; rows that are too many are a stack of one, and a model that cannot be stacked is none."""
    made, training, model = layout(12, 64), TrainingSpec(cohort=64, batch=8), ModelSpec(max_length=32)
    assert cohorts.most(made, model, training) == cohorts.MOST_NUMBERS // (8 * 32 * 64) > 1
    assert cohorts.most(made, replace(model, max_length=64), training) == cohorts.MOST_NUMBERS // (8 * 64 * 64)
    assert cohorts.most(made, model, TrainingSpec(cohort=2)) == 2
    assert cohorts.most(made, model, TrainingSpec(cohort=1)) == 0
    assert cohorts.most(layout(6, 768), replace(model, max_length=128), training) == 1
    odd = replace(made, shape=replace(made.shape, architecture="deberta-v2"))
    assert cohorts.most(odd, model, training) == 0
    assert cohorts.most(replace(made, head={**made.head, "classifier.norm.weight": (64,)}), model, training) == 0


def test_unless_told_otherwise_eight_where_two_fit_and_no_stacks_of_one() -> None:
    made, model, usual = layout(12, 64), ModelSpec(max_length=32), TrainingSpec(batch=8)
    assert cohorts.most(made, model, usual) == cohorts.USUAL
    assert cohorts.most(made, replace(model, max_length=256), usual) == 2
    assert cohorts.most(made, replace(model, max_length=512), usual) == 0
    assert cohorts.most(made, replace(model, max_length=512), TrainingSpec(batch=8, cohort=8)) == 1


def test_a_fleet_that_is_real_or_stands_for_one_trains_each_alone() -> None:
    made, here = layout(12, 64), FleetSpec(boards={"jetson-tx2": 1})
    own = DataSpec(source="/somewhere", partition="local", text_columns=("text",), label_column="stars")
    dealt = CampaignSpec(fleet=here, model=ModelSpec(max_length=32), training=TrainingSpec(batch=8))
    assert most_in_a_stack(dealt, made) == cohorts.USUAL
    assert most_in_a_stack(replace(dealt, data=own), made) == 0
    assert most_in_a_stack(replace(dealt, data=own, training=TrainingSpec(batch=8, cohort=4)), made) == 4
    pools = FleetSpec(boards={"jetson-tx2": 1}, pools={"jetson-tx2": "own"})
    assert most_in_a_stack(replace(dealt, data=own, fleet=pools), made) == 0


def test_real_devices_train_alone() -> None:
    boards = FleetSpec(boards={"jetson-tx2": 1}, pools={"jetson-tx2": "own"})
    with pytest.raises(SpecError, match=r"data\.partition"):
        CampaignSpec(fleet=boards)
    own = DataSpec(partition="local", text_columns=("text",), label_column="stars")
    CampaignSpec(fleet=boards, data=own)
    with pytest.raises(SpecError, match=r"training\.cohort is 4, but real devices"):
        CampaignSpec(fleet=boards, data=own, training=TrainingSpec(cohort=4))
    with pytest.raises(SpecError, match=r"training\.cohort is 0"):
        TrainingSpec(cohort=0)


def test_the_facts_say_who_was_beside_whom() -> None:
    cost = pricing()
    there = world(cost, cohort=2)
    from fedquad import discover

    strategy, sizes = discover.strategy("fedlora:oracle"), statuses([10**12] * 3)
    begun = state(an_adapter(layers=12))
    plan = rounds.plan_round(strategy, begun, sizes, there, seed=0)
    assert plan.cohorts == ((0,), (1, 2))
    failed = (wire_failed(device) for device in range(3))
    sent = dict.fromkeys(range(3), "d")
    outcome = rounds.finish_round(strategy, begun, plan, sent, failed, there, quorum=0.5)
    scores = facts.Scores(score=0.5, loss=1.0, validation_score=0.5, validation_loss=1.0)
    line = facts.round_facts(plan, outcome, sizes, scores, {}).to_json()
    assert [row["cohort"] for row in line["assignments"]] == [0, 1, 1]
    alone = rounds.plan_round(strategy, begun, sizes, replace(there, cohort=0), seed=0)
    line = facts.round_facts(alone, outcome, sizes, scores, {}).to_json()
    assert not any("cohort" in row for row in line["assignments"])


def wire_failed(device: int) -> Any:
    from fedquad import wire

    return wire.failed(device, 1, "d", "it never answered")


class Processes:
    """A pool that notes what it is asked, and loses the process of a cohort that holds these devices."""

    def __init__(self, *lost: int) -> None:
        self.lost, self.asked = set(lost), []

    async def do(self, job: Any) -> dict[str, Any]:
        devices = [one.assignment.device for one in (job.members if isinstance(job, Cohort) else [job])]
        self.asked.append(devices if isinstance(job, Cohort) else devices[0])
        if isinstance(job, Cohort) and self.lost & set(devices):
            raise WorkerDied("process 7 ended")
        answers = [{"device": device, "report": {"seconds": 9.0}} for device in devices]
        return {"answers": answers} if isinstance(job, Cohort) else answers[0]


def answered(pool: Processes, dropped: set[int], numbers: list[int | None]) -> dict[int, float]:
    """The devices that a fleet had trained, and what each was charged."""
    made = SimulatedFleet(SimpleNamespace(), pricing(), pool, 0)  # type: ignore[arg-type]
    estimate: Any = SimpleNamespace(seconds=2.0)
    jobs = []
    for device, number in enumerate(numbers):
        train = Train(
            assignment=told(device), training=TrainingSpec(), adapter="a", digest="d", shards="s",
            key=(0, 0, 1, device), round=1, out="o",
        )  # fmt: skip
        jobs.append(Job(device=device, train=train, estimate=estimate, cohort=number))

    async def all_of_them() -> dict[int, float]:
        return {one.device: one.waited async for one in made.train(jobs, round=1, attempt=0)}

    fates: Any = SimpleNamespace(
        seconds=None,
        time_factor=[1.0 + device for device in range(9)],
        dropped=[device in dropped for device in range(9)],
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fleet, "fates", lambda *_: fates)
        return asyncio.run(all_of_them())


def test_a_cohort_goes_to_one_process_without_those_that_drop_out() -> None:
    pool = Processes()
    charged = answered(pool, {2, 4}, [0, 1, 0, 1, 1, None, 0])
    assert charged == {device: 2.0 * (1 + device) for device in range(7)}
    assert sorted(map(str, pool.asked)) == ["5", "[0, 6]", "[1, 3]"]


def test_a_cohort_whose_process_is_lost_is_tried_one_by_one() -> None:
    pool = Processes(3)
    assert set(answered(pool, set(), [0, 0, 1, 1])) == {0, 1, 2, 3}
    assert sorted(map(str, pool.asked)) == ["2", "3", "[0, 1]", "[2, 3]"]
