"""One arm: a method on a seed, round after round, as the paper's loop."""

import asyncio
import time
from typing import Any, TypeVar, cast

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.utilities.annotations import quote

from fedquad.errors import ArmFailedError, FedquadError
from fedquad.rounds.strategy import no_survey
from fedquad.store.files import check_room
from fedquad.types import Assignment, CostEstimate
from tasks.aggregate import aggregate
from tasks.collect import collect
from tasks.configure import configure
from tasks.dispatch import dispatch
from tasks.evaluate import evaluate
from tasks.prepare import is_finished, open_arm
from tasks.progress import announce
from tasks.record import record
from tasks.session import CURRENT, Arm
from tasks.survey import survey
from tasks.track import track

T = TypeVar("T")


@flow(name="arm", flow_run_name="{label}-s{seed}", persist_result=False)
async def arm(label: str, seed: int, until: int | None = None) -> State:
    """Run an arm from where it stands to its last round; ends Failed, with the reason, when it cannot go on."""
    session = CURRENT.get()
    try:
        work = open_arm(session, label, seed)
        tracking: asyncio.Future[Any] = asyncio.ensure_future(asyncio.sleep(0))
        while not is_finished(session.spec, work.folder.progress, until):
            await run_round(work)
            await tracking  # MLflow hears of a round while the next one trains
            tracking = asyncio.ensure_future(track(session.tracker, label, work.method, seed, work.state.round))
        await tracking
    except FedquadError as error:
        session.folder.arm(label, seed).note_failure(str(error))
        announce("arm-failed", label=label, seed=seed, reason=str(error))
        return Failed(message=str(error))
    announce("arm-finished", label=label, seed=seed)
    return Completed(message=f"{work.state.round} rounds, accuracy {work.folder.progress.last_accuracy:.4f}")


def as_is(record: T) -> T:
    """Hand a record to a task without Prefect looking into its every field (50 ms for a plan of 100 devices)."""
    return cast(T, quote(record))


async def run_round(work: Arm) -> None:
    """status -> (survey) -> configure -> train -> aggregate -> evaluate -> record; below the quorum it is tried once more."""
    began = time.monotonic()
    check_room(work.folder.path)
    for attempt in (0, 1):
        statuses = await collect(work)
        surveyed: tuple[tuple[Assignment, CostEstimate], ...] = ()
        if work.strategy.survey is not no_survey:
            statuses, surveyed = await survey(work, statuses, attempt)
        plan = await configure(work, statuses, attempt, surveyed)
        started = time.monotonic()
        sent = await dispatch(work, as_is(plan))
        trained = time.monotonic()
        outcome = await aggregate(work, as_is(plan), sent)
        if outcome.is_quorate:
            break
        work.state = outcome.state
    else:
        raise ArmFailedError(
            f"round {plan.round}: {outcome.answered} of {plan.size} devices answered, twice; the quorum is {work.session.spec.quorum:g} "
            f"of them ({next(iter(outcome.failures.values()), 'none was asked')})"
        )
    merged = time.monotonic()
    scores = await evaluate(work, as_is(outcome))
    done = time.monotonic()
    walls = {
        "wall_train_seconds": trained - started,
        "wall_evaluate_seconds": done - merged,
        "wall_round_seconds": done - began,
    }
    await record(work, as_is(plan), statuses, as_is(outcome), scores, walls)
