"""`fedquad device serve`: a board joins its pool under a queue of its own, and stays.

Three things run until somebody ends them: Prefect's worker, which polls the device's queue and starts the thin flow; the resident
trainer, started again when it ends; and the reports on the device itself, as events. A server that goes away is waited for.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from fedquad.device.board import read_board
from fedquad.errors import ServiceError
from fedquad.onboard.folder import VARIABLE, DeviceFolder
from fedquad.onboard.report import report
from flows.provision import our_version
from flows.worker import FedquadWorker
from tasks.joined import STATUS

REPORT_SECONDS = 15.0
LOOK_SECONDS = 0.5  # how often the trainer's note is looked at: what a job changed is reported at once
AGAIN_SECONDS = 2.0
LEAVE_SECONDS = 5.0
log = logging.getLogger("fedquad.device")


@dataclass(slots=True)
class Device:
    """A board that serves."""

    folder: DeviceFolder
    pool: str
    exchange: str  # as `--exchange` names it
    trainer: tuple[
        str, ...
    ] = ()  # data, model, label column, objective of a trainer of our own; empty: it runs elsewhere
    skew: timedelta = field(default_factory=timedelta)  # the server's clock less ours

    async def serve(self) -> None:
        """Join, and stay until Ctrl-C, SIGTERM or SIGHUP."""
        os.environ[VARIABLE] = str(self.folder.path)
        ours = asyncio.current_task()
        assert ours is not None
        for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(stop, ours.cancel)
        try:
            async with asyncio.TaskGroup() as group:
                if self.trainer:
                    group.create_task(self.keep_trainer())
                group.create_task(self.keep_worker())
                group.create_task(self.keep_reporting())
        finally:
            with suppress(Exception):  # a server that is not there is not told
                await asyncio.wait_for(self.tell(leaving=True), LEAVE_SECONDS)

    async def keep_trainer(self) -> None:
        """Have a trainer; it ends with us, however we end, since it reads our end of a pipe."""
        while True:
            self.folder.forget("trainer")
            trainer = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "fedquad.onboard.trainer", str(self.folder.path), *self.trainer,
                stdin=asyncio.subprocess.PIPE,
                env=without_secrets(os.environ),
                start_new_session=True,
            )  # fmt: skip
            try:
                code = await trainer.wait()
            finally:
                if trainer.returncode is None:
                    trainer.kill()
                    await trainer.wait()
            log.warning("the trainer ended with code %s; it is started again", code)
            await asyncio.sleep(AGAIN_SECONDS)

    async def keep_worker(self) -> None:
        """Poll the queue; whatever ends Prefect's loop, such as a server that was away for long, begins it again."""
        while True:
            try:
                await self.have_queue()
                worker = FedquadWorker(
                    work_pool_name=self.pool,
                    work_queues=[self.folder.name],
                    name=self.folder.name,
                    limit=1,
                    create_pool_if_not_found=False,
                )
                await worker.start(printer=log.info)
            except ObjectNotFound:
                raise ServiceError(
                    f"there is no work pool {self.pool!r} on the server; `fedquad up` makes them"
                ) from None
            except Exception as error:  # whatever HTTP client and Prefect raise while a server is away
                log.warning("the server cannot be reached (%s); trying again", type(error).__name__)
            await asyncio.sleep(AGAIN_SECONDS)

    async def have_queue(self) -> None:
        """A queue of our own, without a limit: a run that nobody ended would block it for ever."""
        async with get_client() as client:
            await client.read_work_pool(self.pool)
            with suppress(ObjectAlreadyExists):
                await client.create_work_queue(
                    self.folder.name, description=f"The device {self.folder.name}.", work_pool_name=self.pool
                )

    async def keep_reporting(self) -> None:
        """Say how we are, every so often and whenever the trainer has something new."""
        told, due = None, 0.0
        loop = asyncio.get_running_loop()
        while True:
            noted = self.folder.noted("trainer").get("noted_at")
            if noted and (noted != told or loop.time() >= due):
                try:
                    await self.tell()
                    told, due = noted, loop.time() + REPORT_SECONDS
                except Exception as error:
                    log.warning("the status could not be sent (%s: %s)", type(error).__name__, error)
                    await asyncio.sleep(AGAIN_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)

    async def tell(self, *, leaving: bool = False) -> None:
        """Send one report; the server's clock, as its answer shows it, dates the next."""
        board = await asyncio.to_thread(read_board)
        said = report(self.folder, self.pool, our_version(), board, self.exchange, leaving=leaving)
        resource = f"fedquad.device.{self.pool}.{self.folder.name}"
        event = Event.model_validate(
            {
                "occurred": datetime.now(timezone.utc) + self.skew,
                "event": STATUS,
                "resource": {"prefect.resource.id": resource, "prefect.resource.name": self.folder.name},
                "payload": said,
            }
        )
        async with get_client() as client:
            answer = await client.request("POST", "/events", json=[event.model_dump(mode="json")])
        with suppress(TypeError, ValueError):
            apart = parsedate_to_datetime(answer.headers["Date"]) - datetime.now(timezone.utc)
            self.skew = apart if abs(apart) > timedelta(seconds=2) else timedelta()


def without_secrets(environment: Mapping[str, str]) -> dict[str, Any]:
    """What the trainer is told: it talks to nobody but the flow."""
    secret = ("PREFECT_API_AUTH_STRING", "PREFECT_API_KEY", "MLFLOW_TRACKING_PASSWORD")
    return {key: value for key, value in environment.items() if key not in secret}
