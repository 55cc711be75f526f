"""Collect the fleet's statuses at the start of a round, and sample who will be asked."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from fedquad.rounds import round as rounds
from fedquad.types import Statuses
from tasks.session import Arm


@task(
    name="collect status",
    task_run_name="round {arm.number} - collect status",
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def collect(arm: Arm) -> Statuses:
    """What every device reports; the ones that are not sampled this round count as unavailable."""
    statuses = await arm.shared.fleet.statuses(arm.number)
    return rounds.sample(statuses, arm.session.spec.participation, arm.seed, arm.number)
