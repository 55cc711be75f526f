"""Commit a finished round to disk and export its adapter."""

from collections.abc import Mapping
from dataclasses import replace

from fedquad.rounds.facts import RoundFacts, Scores, locked_depth, round_facts
from fedquad.rounds.prefix import after_probe
from fedquad.rounds.round import Outcome, Plan
from fedquad.types import Statuses
from tasks.export import export
from tasks.progress import announce
from tasks.session import Arm


async def record(
    arm: Arm, plan: Plan, statuses: Statuses, outcome: Outcome, scores: Scores, walls: Mapping[str, float]
) -> RoundFacts:
    """Commit the round; what a kill after this point loses is derived again from the commit."""
    outcome = replace(outcome, state=after_probe(outcome.state, scores.prefix_drift, arm.spec.training))
    facts = round_facts(plan, outcome, statuses, scores, walls, arm.told)
    document = facts.to_json()
    arm.folder.commit(outcome.state, document, arm.spec.keep_every)
    arm.state = outcome.state
    export(arm)
    arm.spool.clear()
    announce("round", **{"label": arm.label, "seed": arm.seed, **document})
    arm.recent.append(document)
    warn_of_one_depth(arm)
    return facts


def warn_of_one_depth(arm: Arm) -> None:
    """Say, once, that a method which adapts depth has given everyone the same one for rounds: it is then FedLoRA."""
    if not arm.strategy.adapts_depth or arm.is_warned:
        return
    depth = locked_depth(arm.recent)
    if depth is not None:
        arm.is_warned = True
        announce(
            "notice",
            message=f"{arm.name}: every device has trained depth {depth} for five rounds; on a fleet this even the method "
            f"is FedLoRA of that depth (see t_avg and theta, or try the variant deadline)",
        )
