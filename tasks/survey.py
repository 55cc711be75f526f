"""Measure before planning, when a method asks for it: the answers come back as the statuses' signals, the time goes on the clock."""

from dataclasses import replace

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from fedquad.rounds import round as rounds
from fedquad.types import Assignment, CostEstimate, Statuses
from tasks.aggregate import spooled_updates
from tasks.dispatch import train_all
from tasks.session import Arm


@task(name="survey", task_run_name="round {arm.number} - survey", cache_policy=NO_CACHE, persist_result=False)
async def survey(
    arm: Arm, statuses: Statuses, attempt: int
) -> tuple[Statuses, tuple[tuple[Assignment, CostEstimate], ...]]:
    """The statuses with every answer under `signals`, and what was asked with its price."""
    asked = rounds.plan_survey(arm.strategy, arm.state, statuses, arm.world)
    await train_all(arm, asked, arm.number, attempt, kind="survey")
    signals: dict[str, np.ndarray] = {}
    for update in spooled_updates(arm, [a.device for a, _ in asked], kind="survey"):
        for name, values in update.signals.items():
            table = signals.setdefault(name, np.full((len(statuses), len(values)), np.nan))
            table[update.device] = values
    return replace(statuses, signals=signals), asked
