"""Let the method decide what each device does this round."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from fedquad.rounds import round as rounds
from fedquad.rounds.round import Plan
from fedquad.types import Assignment, CostEstimate, Statuses
from tasks.progress import announce
from tasks.session import Arm


@task(name="configure", task_run_name="round {arm.number} - configure", cache_policy=NO_CACHE, persist_result=False)
async def configure(
    arm: Arm, statuses: Statuses, attempt: int, surveyed: tuple[tuple[Assignment, CostEstimate], ...] = ()
) -> Plan:
    """The plan: an assignment and a price for every participant."""
    plan = rounds.plan_round(
        arm.strategy, arm.state, statuses, arm.world, seed=arm.seed, attempt=attempt, surveyed=surveyed
    )
    announce("planned", label=arm.label, seed=arm.seed, round=plan.round, devices=len(plan.asked))
    return plan
