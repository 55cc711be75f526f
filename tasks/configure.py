"""Let the method decide what each device does this round."""

from fedquad.rounds import round as rounds
from fedquad.rounds.round import Plan, Probe
from fedquad.types import Statuses
from tasks.progress import announce
from tasks.session import Arm


async def configure(arm: Arm, statuses: Statuses, attempt: int, surveyed: tuple[Probe, ...] = ()) -> Plan:
    """The plan: an assignment and a price for every participant."""
    plan = rounds.plan_round(
        arm.strategy, arm.state, statuses, arm.world, seed=arm.seed, attempt=attempt, surveyed=surveyed
    )
    announce("planned", label=arm.label, seed=arm.seed, round=plan.round, devices=len(plan.asked))
    return plan
