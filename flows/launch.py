"""Run a campaign from this process: everything slow starts at once.

Training processes import torch and load the model, Prefect's server comes up, this process imports prefect and makes the campaign's
run, side by side; one after the other they take twice as long on two cores.
"""

import asyncio
import atexit
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fedquad import garbage
from fedquad.errors import FedquadError
from fedquad.spec import CampaignSpec
from fedquad.store.campaign import campaign as campaign_folder
from fedquad.store.campaign import home
from fedquad.store.files import check_room
from flows import settings, stops
from flows.guard import check_api
from flows.server import TemporaryServer
from tasks import prepare
from tasks.engine import engine_of
from tasks.progress import LISTENER, Listener, announce
from tasks.session import Session

OLD_NEWS = ("Finished in state Failed", "cancelled by the runtime environment")


def run(spec: CampaignSpec, name: str, *, listener: Listener | None = None, until: int | None = None) -> dict[str, Any]:
    """Run, or go on with, a campaign; returns its summary. `until` ends every arm after that round."""
    LISTENER.set(listener)
    with stops.as_interrupts():
        return asyncio.run(_run(spec, name, until))


async def _run(spec: CampaignSpec, name: str, until: int | None) -> dict[str, Any]:
    began = time.monotonic()
    folder = campaign_folder(name)
    settings.apply(home())
    for line in settings.find_servers():
        announce("notice", message=line)
    server: TemporaryServer | None = TemporaryServer()
    if api := os.environ.get("PREFECT_API_URL"):
        check_api(api)
        server = None
    pool = engine_of(spec, folder)
    with folder.open(spec):
        check_room(folder.path)
        try:
            await pool.start()  # first: its imports are what the first training waits for
            if server is not None:
                # Registered before prefect is imported, so it runs after Prefect has sent its last logs.
                atexit.register(server.stop)
                server.start()
                os.environ["PREFECT_API_URL"] = server.url
                os.environ["PREFECT_API_AUTH_STRING"] = server.password
            session = Session(folder, spec, pool)
            importing = asyncio.create_task(asyncio.to_thread(_import_flow))
            if spec.fleet.pools:  # preparing imports prefect too then, and two threads must not at once
                await importing
            async with _preparing(session, began):
                flow = await importing
                if server is not None:
                    from flows.events import SILENT

                    SILENT.set(True)
                    await asyncio.to_thread(server.wait)
                with prepare.current(session):
                    return await flow(spec=spec, name=name, until=until or 0)  # type: ignore[no-any-return]
        finally:
            announce("closed", busy_seconds=pool.busy_seconds)
            await pool.close()


@asynccontextmanager
async def _preparing(session: Session, began: float) -> AsyncIterator[None]:
    """Make the session ready meanwhile; a run that cannot be made does not wait for it."""

    async def prepared() -> None:
        await prepare.prepare(session)
        announce("ready", seconds=time.monotonic() - began, busy_seconds=session.pool.busy_seconds)

    async with session.held:
        session.preparing = asyncio.create_task(prepared())
        try:
            yield
        finally:
            session.preparing.cancel()
            await asyncio.gather(session.preparing, return_exceptions=True)


def _import_flow() -> Any:
    with garbage.seldom_sought():
        from prefect.logging.configuration import setup_logging

        from flows.campaign import campaign

    setup_logging()  # later calls, Prefect's own, leave the handlers as they are
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_news)
    return campaign


def _is_news(record: logging.LogRecord) -> bool:
    """Whether the console needs to hear it: what the user did (Ctrl-C) or is told in one line by whoever called us is not.

    Prefect's own log, which its UI shows, keeps the traceback.
    """
    error = record.exc_info[1] if record.exc_info else None
    said = record.getMessage()
    return not isinstance(error, FedquadError) and not any(words in said for words in OLD_NEWS)
