"""The devices of a real fleet as a campaign knows them: who they are, the way to them, what they have loaded."""

import asyncio
import hashlib
import json
import math
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client

from fedquad.errors import FedquadError, ServiceError, quoted
from fedquad.exchange.exchange import Exchange
from fedquad.exchange.patience import patiently
from fedquad.fleets.reported import Reported
from fedquad.learn.jobs import Join, to_json
from fedquad.spec import CampaignSpec
from fedquad.store.campaign import CampaignFolder
from tasks import exchange_url, joined
from tasks.device_runs import DeviceRuns
from tasks.joined import Roster, Who
from tasks.progress import announce

LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 120.0
Answer = TypeVar("Answer")


@asynccontextmanager
async def opened(folder: CampaignFolder, spec: CampaignSpec) -> AsyncIterator["Office"]:
    """Wait for the devices of the campaign's work pools, and hold the way to them open."""
    if not os.environ.get("PREFECT_API_URL"):
        raise ServiceError(
            "fleet.pools names work pools, and devices join those on a server that stays: `fedquad up` starts one, or set PREFECT_API_URL"
        )
    async with get_client() as client:
        roster, heard = await joined.gather(client, folder, spec.fleet)
        scope = f"c-{hashlib.sha256(f'{socket.gethostname()}:{folder.path}'.encode()).hexdigest()[:12]}"
        name = exchange_url.named(spec.fleet.exchange)
        exchange = exchange_url.opened(exchange_url.exchange_url(name), scope)
        office = Office(
            DeviceRuns(client, scope), exchange, scope, roster, spec.fleet.status_seconds, name, heard=heard
        )
        try:
            yield office
        finally:
            await office.close()


@dataclass(slots=True)
class Office:
    """What all fleets of a campaign share: who its devices are, the way to them, what they have loaded."""

    runs: DeviceRuns
    exchange: Exchange
    scope: str
    roster: Roster
    status_seconds: float  # the age of a report that still counts
    exchange_name: str  # which a device has to use too
    opening: str = ""
    heard: dict[Who, Reported] = field(default_factory=dict)
    away_at: float = -math.inf  # when Prefect last did not answer, by time.monotonic()
    away_seconds: float = 0.0  # for how long it had not by then

    @property
    def client(self) -> PrefectClient:
        return self.runs.client

    async def listen(self) -> None:
        """Hear what the devices say of themselves; while Prefect is away none can, which is no silence of theirs."""
        is_just_back = time.monotonic() - self.away_at < self.status_seconds
        age = self.status_seconds + (self.away_seconds if is_just_back else 0.0)
        self.heard = await joined.reports(self.client, age, self.roster.real().values())

    def why_out_of_reach(self, who: Who) -> str:
        """Why nothing that is sent would reach a device; empty where it would."""
        said = self.heard.get(who)
        if said is None:
            return f"it has not reported within {self.status_seconds:.0f} s"
        if said.exchange != self.exchange_name:
            return (
                f"it exchanges adapters by {quoted(said.exchange)}, but the campaign's fleet.exchange is "
                f"{quoted(self.exchange_name)}; start it with that --exchange"
            )
        return ""

    def why_absent(self, who: Who) -> str:
        """Why a device cannot be asked to train; empty where it can."""
        if reason := self.why_out_of_reach(who):
            return reason
        said = self.heard[who]
        return said.problem if said.opened == self.opening else ""

    async def patiently(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """What Prefect answers; a server that goes away, or is too busy, is asked again for a while."""
        began = time.monotonic()
        while True:
            try:
                return await ask()
            except (httpx.HTTPError, OSError) as error:
                if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                    raise
                self.away_at, self.away_seconds = time.monotonic(), time.monotonic() - began + LOOK_SECONDS
                if self.away_seconds > PATIENCE_SECONDS:
                    raise ServiceError(
                        f"Prefect did not answer for {PATIENCE_SECONDS:.0f} s ({type(error).__name__}: {error})"
                    ) from None
                announce("notice", message=f"Prefect does not answer ({type(error).__name__}); asking again")
            await asyncio.sleep(LOOK_SECONDS)

    async def join(self, job: Join, deadline: float) -> None:
        """Have every device load what the campaign needs, unless it has; one that cannot is absent, and its reports say why."""
        content = json.dumps(to_json(job), sort_keys=True).encode()
        self.opening = await asyncio.to_thread(self.exchange.put, content)
        await self.runs.end_left()
        waiting: dict[UUID, str] = {}
        for pool, name in self.roster.real().values():
            said = self.heard.get((pool, name))
            if said and said.opened == self.opening and not said.problem:
                continue  # it has it loaded: of this campaign before, or of one like it
            if reason := self.why_out_of_reach((pool, name)):
                announce("notice", message=f"{name} cannot take part: {reason}")
                continue
            parameters = {"name": f"join - {name}", "scope": self.scope, "opening": self.opening, "seconds": deadline}
            key = f"{self.scope} {self.opening} {pool} {name} {time.time_ns()}"
            run = await self.patiently(partial(self.runs.create, pool, name, parameters, key, None))
            waiting[run.id] = name
        end = time.monotonic() + deadline
        while waiting and time.monotonic() < end:
            await asyncio.sleep(LOOK_SECONDS)
            for run_id, run in (await self.patiently(partial(self.runs.look, waiting))).items():
                if run.state is not None and run.state.is_final():
                    name = waiting.pop(run_id)
                    if not run.state.is_completed():
                        announce("notice", message=f"{name} cannot take part: {run.state.message or run.state.name}")
        for run_id, name in waiting.items():
            announce("notice", message=f"{name} has not loaded the model within {deadline:g} s")
            self.runs.end(run_id, "not joined in time")

    async def laid_down(self, content: bytes, *, until: float) -> str:
        """Put a content into the exchange, which may be away until then."""
        return await patiently(
            partial(self.exchange.put, content), until=until, tell=lambda said: announce("notice", message=said)
        )

    async def close(self) -> None:
        await self.runs.close()
        await self.tidy(self.exchange.clear)

    async def tidy(self, remove: Callable[[], None]) -> None:
        """Remove what was exchanged; an exchange that is away costs no round, only its room."""
        try:
            await asyncio.to_thread(remove)
        except FedquadError as error:
            announce("notice", message=f"what was exchanged could not be removed: {error}")
