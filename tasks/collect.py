"""Collect the fleet's statuses at the start of a round, and sample who will be asked."""

from fedquad.rounds import round as rounds
from fedquad.types import Statuses
from tasks.session import Arm


async def collect(arm: Arm) -> Statuses:
    """What every device reports; the ones that are not sampled this round count as unavailable."""
    statuses = await arm.shared.fleet.statuses(arm.number)
    statuses = rounds.without_suspended(statuses, arm.state)
    return rounds.sample(statuses, arm.spec.participation, arm.seed, arm.number)
