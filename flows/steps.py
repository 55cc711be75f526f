"""The round's verbs as Prefect tasks, by the paper's names."""

import functools
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.utilities.annotations import quote

from fedquad.rounds.facts import RoundFacts, Scores
from fedquad.rounds.round import Outcome, Plan
from fedquad.types import Statuses
from flows import events
from tasks import aggregate, collect, configure, dispatch, evaluate, survey
from tasks import record as records
from tasks.round import Step, Steps
from tasks.session import Arm
from tasks.show import show


def as_task(step: Step, name: str, run_name: str) -> Step:
    """A verb as a task. Records are quoted: Prefect would look into their every field (50 ms for a plan of 100 devices)."""

    @task(name=name, task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False)
    @functools.wraps(step)
    async def made(arm: Arm, *records: Any) -> Any:
        arm.records[arm.number].task_runs.append(UUID(runtime.task_run.id))
        return await step(arm, *records)

    async def run(arm: Arm, *records: Any) -> Any:
        return await made(arm, *(quote(record) for record in records))

    return run


async def record(
    arm: Arm, plan: Plan, statuses: Statuses, outcome: Outcome, scores: Scores, walls: Mapping[str, float]
) -> RoundFacts:
    """Commit the round, then show it and tell of it."""
    facts = await records.record(arm, plan, statuses, outcome, scores, walls)
    await show(arm, facts)
    events.round_committed(arm, facts)
    return facts


STEPS = Steps(
    collect=as_task(collect.collect, "collect status", "round {arm.number} - collect status"),
    survey=as_task(survey.survey, "survey", "round {arm.number} - survey"),
    configure=as_task(configure.configure, "configure", "round {arm.number} - configure"),
    dispatch=as_task(dispatch.dispatch, "dispatch", "round {plan.round} - train {plan.size} devices"),
    aggregate=as_task(aggregate.aggregate, "aggregate", "round {plan.round} - aggregate"),
    evaluate=as_task(evaluate.evaluate, "evaluate", "round {outcome.state.round} - evaluate"),
    record=as_task(record, "record", "round {plan.round} - record"),
)
