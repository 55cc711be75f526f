"""The devices of a real fleet as a campaign knows them: who they are, the way to them, what they have loaded."""

import asyncio
import json
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun

from fedquad.errors import ServiceError, quoted
from fedquad.exchange.exchange import Exchange
from fedquad.exchange.patience import patiently
from fedquad.fleets.reported import Reported
from fedquad.learn import local
from fedquad.learn.jobs import Join, to_json
from fedquad.spec import CampaignSpec
from fedquad.store.campaign import CampaignFolder
from tasks import exchange_url, joined
from tasks.contents import tidy
from tasks.device_runs import DeviceRuns
from tasks.joined import Roster, Who
from tasks.progress import announce

LOOK_SECONDS = 1.0
LISTEN_SECONDS = 10.0  # how often who waits for devices asks who is still there
PATIENCE_SECONDS = 120.0
SILENT_SECONDS = 1.0  # for which Prefect does not answer before it counts as away
Answer = TypeVar("Answer")


@asynccontextmanager
async def opened(folder: CampaignFolder, spec: CampaignSpec) -> AsyncIterator["Office"]:
    """Wait for the devices of the campaign's work pools, and hold the way to them open."""
    if not os.environ.get("PREFECT_API_URL"):
        raise ServiceError(
            "fleet.pools names work pools, and devices join those on a server that stays: `fedquad up` starts one, or set PREFECT_API_URL"
        )
    async with get_client() as client:
        objective = local.objective_of(spec.data)
        roster, heard = await joined.gather(client, folder, spec.fleet, objective)
        scope = exchange_url.scope("c", folder.path)
        name = exchange_url.named(spec.fleet.exchange)
        exchange = exchange_url.opened(exchange_url.exchange_url(name), scope)
        seconds = spec.fleet.status_seconds
        office = Office(DeviceRuns(client, scope), exchange, scope, roster, seconds, name, objective, heard=heard)
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
    objective: str  # which it has to have read its labels for
    opening: str = ""
    heard: dict[Who, Reported] = field(default_factory=dict)
    away_at: float = -math.inf  # when Prefect was last away, by time.monotonic()
    away_seconds: float = 0.0  # for how long it had been by then

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
        if said.objective != self.objective:
            return (
                f"the labels of its examples were read for {quoted(said.objective)}, but the campaign learns "
                f"{quoted(self.objective)}; start it with --objective {self.objective}"
            )
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
                answer = await ask()
                self._note_silence(began)
                return answer
            except (httpx.HTTPError, OSError) as error:
                if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                    raise
                self._note_silence(began)
                if time.monotonic() - began > PATIENCE_SECONDS:
                    raise ServiceError(
                        f"Prefect did not answer for {PATIENCE_SECONDS:.0f} s ({type(error).__name__}: {error})"
                    ) from None
                announce("notice", message=f"Prefect does not answer ({type(error).__name__}); asking again")
            await asyncio.sleep(LOOK_SECONDS)

    def _note_silence(self, began: float) -> None:
        """Remember how long Prefect has not answered, which its client may have waited for by itself."""
        now = time.monotonic()
        if now - began > SILENT_SECONDS:
            self.away_at, self.away_seconds = now, now - began + LOOK_SECONDS

    async def join(self, job: Join, deadline: float) -> None:
        """Have every device load what the campaign needs, unless it has; one that cannot is absent, and its reports say why."""
        content = json.dumps(to_json(job), sort_keys=True).encode()
        self.opening = await asyncio.to_thread(self.exchange.put, content)
        await self.runs.end_left()
        asked = []
        for who in self.roster.real().values():
            said = self.heard.get(who)
            if said and said.opened == self.opening and not said.problem:
                continue  # it has it loaded: of this campaign before, or of one like it
            if reason := self.why_out_of_reach(who):
                announce("notice", message=f"{who[1]} cannot take part: {reason}")
            else:
                asked.append(who)
        ended = await self.ask(asked, "join", {}, deadline)
        for who in asked:
            state = ended[who].state if who in ended else None
            if state is None and who not in self.heard:
                announce("notice", message=f"{who[1]} left, or fell silent, before it had loaded the model")
            elif state is None:
                announce("notice", message=f"{who[1]} has not loaded the model within {deadline:g} s")
            elif not state.is_completed():
                announce("notice", message=f"{who[1]} cannot take part: {state.message or state.name}")

    async def ask(
        self, whom: Iterable[Who], what: str, parameters: Mapping[str, Any], seconds: float
    ) -> dict[Who, FlowRun]:
        """Give each device a run and wait for all; those that have ended by then. The others' are ended, as a silent device's is."""
        waiting, ended, end = dict[UUID, Who](), dict[Who, FlowRun](), time.monotonic() + seconds
        for pool, name in whom:
            about = {"name": f"{what} - {name}", "scope": self.scope, "opening": self.opening, "seconds": seconds}
            key = f"{self.scope} {self.opening} {what} {pool} {name} {time.time_ns()}"
            run = await self.patiently(partial(self.runs.create, pool, name, {**about, **parameters}, key, None))
            waiting[run.id] = (pool, name)
        listened = time.monotonic()
        while waiting and time.monotonic() < end:
            await asyncio.sleep(LOOK_SECONDS)
            if time.monotonic() - listened > LISTEN_SECONDS:
                listened = time.monotonic()
                await self.patiently(self.listen)
            for run_id, run in (await self.patiently(partial(self.runs.look, waiting))).items():
                if run.state is not None and run.state.is_final():
                    ended[waiting.pop(run_id)] = run
            for run_id in [run_id for run_id, who in waiting.items() if who not in self.heard]:
                del waiting[run_id]
                self.runs.end(run_id, "its device fell silent")
        for run_id in waiting:
            self.runs.end(run_id, f"{what}: not done in time")
        return ended

    async def laid_down(self, content: bytes, *, until: float) -> str:
        """Put a content into the exchange, which may be away until then."""
        return await patiently(
            partial(self.exchange.put, content), until=until, tell=lambda said: announce("notice", message=said)
        )

    async def close(self) -> None:
        await self.runs.close()
        await tidy(self.exchange.clear)
