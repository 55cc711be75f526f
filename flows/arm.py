"""One arm: a method on a seed, round after round, as the paper's loop."""

import asyncio
from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from fedquad.errors import FedquadError
from fedquad.store.files import check_room
from flows import watch
from flows.steps import STEPS
from tasks.prepare import is_finished, open_arm
from tasks.progress import announce
from tasks.round import play
from tasks.session import CURRENT, Session
from tasks.track import track


@flow(name="arm", flow_run_name="{label}-s{seed}", persist_result=False)
async def arm(label: str, seed: int, until: int | None = None) -> State:
    """Run an arm from where it stands to its last round; ends Failed, with the reason, when it cannot go on."""
    session = CURRENT.get()
    with watch.over(runtime.flow_run.id, f"arm {label}-s{seed}"):
        return await _run(session, label, seed, until)


async def _run(session: Session, label: str, seed: int, until: int | None) -> State:
    try:
        work = open_arm(session, label, seed)
        tracking: asyncio.Future[Any] = asyncio.ensure_future(asyncio.sleep(0))
        while not is_finished(session.spec, work.folder.progress, until):
            check_room(work.folder.path)
            await play(work, STEPS)
            await tracking  # MLflow hears of a round while the next one trains
            tracking = asyncio.ensure_future(track(session.tracker, label, work.method, seed, work.state.round))
        await tracking
    except FedquadError as error:
        session.folder.arm(label, seed).note_failure(str(error))
        announce("arm-failed", label=label, seed=seed, reason=str(error))
        return Failed(message=str(error))
    announce("arm-finished", label=label, seed=seed)
    return Completed(message=f"{work.state.round} rounds, accuracy {work.folder.progress.last_accuracy:.4f}")
