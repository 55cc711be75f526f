"""Merge what came back: read the spool in plan order, one update in memory at a time."""

from collections.abc import Mapping

from fedquad.rounds import round as rounds
from fedquad.rounds.round import Outcome, Plan
from tasks.session import Arm


async def aggregate(arm: Arm, plan: Plan, sent: Mapping[int, str]) -> Outcome:
    """The next state, and why some devices gave no update."""
    updates = arm.spool.updates(assignment.device for assignment, _ in plan.asked)
    return rounds.finish_round(arm.strategy, arm.state, plan, sent, updates, arm.world, quorum=arm.spec.quorum)
