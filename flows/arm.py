"""One arm: a method on a seed, round after round, as the paper's loop."""

import asyncio
import time
from typing import Any

from prefect import flow, get_client, runtime
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from fedquad.errors import FedquadError
from fedquad.store.files import check_room
from flows import events, watch
from flows.forget import forget
from flows.steps import STEPS
from tasks.evaluate import evaluate_start
from tasks.prepare import is_finished, open_arm
from tasks.progress import announce
from tasks.round import play
from tasks.session import CURRENT, Arm, Session
from tasks.track import track

TELL_SECONDS = 5.0  # between two times that MLflow hears of an arm: shorter rounds go to it together


@flow(name="arm", flow_run_name="{label}-s{seed}", persist_result=False)
async def arm(label: str, seed: int, until: int | None = None) -> State:
    """Run an arm from where it stands to its last round; ends Failed, with the reason, when it cannot go on."""
    session = CURRENT.get()
    with watch.over(runtime.flow_run.id, f"arm {label}-s{seed}"):
        return await _run(session, label, seed, until)


async def _run(session: Session, label: str, seed: int, until: int | None) -> State:
    try:
        work = open_arm(session, label, seed)
        told: asyncio.Future[None] = asyncio.ensure_future(asyncio.to_thread(session.tracker.begin))
        told_at, has_start = 0.0, False
        async with get_client() as client:
            while not is_finished(session.spec, work.folder.progress, until):
                check_room(work.folder.path)
                await play(work, STEPS)
                if not has_start:
                    await evaluate_start(work)  # by now no training waits for it
                    has_start = True
                if _is_to_tell(work, until) or (told.done() and time.monotonic() - told_at >= TELL_SECONDS):
                    await told  # MLflow hears of rounds, and Prefect forgets old ones, while the next one trains
                    told, told_at = asyncio.ensure_future(_tell(session, work, client)), time.monotonic()
            await told
    except FedquadError as error:
        session.folder.arm(label, seed).note_failure(str(error))
        announce("arm-failed", label=label, seed=seed, reason=str(error))
        return Failed(message=str(error))
    announce("arm-finished", label=label, seed=seed)
    events.arm_finished(work)
    return Completed(
        message=f"{work.state.round} rounds, {work.folder.progress.metric.words} {work.folder.progress.last_score:.4f}"
    )


def _is_to_tell(arm: Arm, until: int | None) -> bool:
    """Whether MLflow has to hear of this round before the next one: its adapter is one to send, or it is the last."""
    every = arm.spec.keep_every
    return is_finished(arm.spec, arm.folder.progress, until) or (bool(every) and arm.state.round % every == 0)


async def _tell(session: Session, arm: Arm, client: PrefectClient) -> None:
    number = arm.state.round
    sent: Any = track(session.tracker, arm.label, arm.method, arm.seed, number, return_state=True)
    state = await sent
    arm.records[number].task_runs.append(state.state_details.task_run_id)
    await forget(arm, client)
