"""One round from end to end, and a whole arm, without Prefect: what a flow runs with its steps wrapped as tasks, and what tests,
simulations and notebooks run as it is.

    async with opened(spec, "mine") as session:              # tasks/prepare.py
        facts = await play(open_arm(session, "fedquad", seed=0))
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fedquad.errors import ArmFailedError
from fedquad.rounds.facts import RoundFacts
from fedquad.rounds.round import Outcome, Plan
from fedquad.rounds.strategy import no_survey
from tasks import aggregate, collect, configure, dispatch, evaluate, record, survey
from tasks.session import Arm

Step = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The verbs of a round; the defaults are plain functions."""

    collect: Step = collect.collect
    survey: Step = survey.survey
    configure: Step = configure.configure
    dispatch: Step = dispatch.dispatch
    aggregate: Step = aggregate.aggregate
    evaluate: Step = evaluate.evaluate
    record: Step = record.record


PLAIN = Steps()


async def play(arm: Arm, steps: Steps = PLAIN) -> RoundFacts:
    """status -> (survey) -> configure -> train -> aggregate -> evaluate -> record; below the quorum it is tried once more."""
    began = time.monotonic()
    for attempt in (0, 1):
        statuses, probes = await steps.collect(arm), ()
        if arm.strategy.survey is not no_survey:
            statuses, probes = await steps.survey(arm, statuses, attempt)
        plan = await steps.configure(arm, statuses, attempt, probes)
        started = time.monotonic()
        answers = await steps.dispatch(arm, plan)
        trained = time.monotonic()
        outcome = await steps.aggregate(arm, plan, answers)
        if outcome.is_quorate:
            break
        arm.state = outcome.state
    else:
        raise ArmFailedError(_why_failed(arm, plan, outcome))
    merged = time.monotonic()
    scores = await steps.evaluate(arm, outcome)
    done = time.monotonic()
    walls = {
        "wall_train_seconds": trained - started,
        "wall_evaluate_seconds": done - merged,
        "wall_round_seconds": done - began,
    }
    facts: RoundFacts = await steps.record(arm, plan, statuses, outcome, scores, walls)
    return facts


def _why_failed(arm: Arm, plan: Plan, outcome: Outcome) -> str:
    if outcome.unsound:
        return f"round {plan.round}: {outcome.unsound}, twice; `campaign resume NAME --from-round N` goes back further"
    return (
        f"round {plan.round}: {outcome.answered} of {plan.size} devices answered, twice; the quorum is {arm.spec.quorum:g} "
        f"of them ({next(iter(outcome.failures.values()), 'none was asked')})"
    )
