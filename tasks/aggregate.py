"""Merge what came back: read it through the gate in plan order."""

from fedquad.rounds import round as rounds
from fedquad.rounds.round import Outcome, Plan
from fedquad.store.gate import Answers
from tasks.session import Arm


async def aggregate(arm: Arm, plan: Plan, answers: Answers) -> Outcome:
    """The next state, and why some devices gave no update."""
    sent = {one.assignment.device: one.sent for one in answers.asked}
    return rounds.finish_round(arm.strategy, arm.state, plan, sent, answers, arm.world, quorum=arm.spec.quorum)
