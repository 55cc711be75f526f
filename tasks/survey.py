"""Measure before planning, when a method asks for it: the answers come back as the statuses' signals, the time goes on the clock."""

from fedquad.rounds import round as rounds
from fedquad.rounds.round import Probe
from fedquad.types import Statuses
from tasks.dispatch import train_all
from tasks.session import Arm


async def survey(arm: Arm, statuses: Statuses, attempt: int) -> tuple[Statuses, tuple[Probe, ...]]:
    """The statuses with every answer under `signals`, and how each probe went."""
    asked = rounds.plan_survey(arm.strategy, arm.state, statuses, arm.world)
    if not asked:
        return statuses, ()
    return rounds.surveyed(statuses, asked, await train_all(arm, asked, arm.number, attempt, kind="survey"))
