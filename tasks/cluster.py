"""A Dask cluster in the place of this machine's training processes (`learn.pool.Pool`): the same jobs, the same answers.

What a job names lies in the exchange by digest, each content once: adapters while a job needs them, shards and tokens while the
campaign lasts. A delta comes back by digest through a scope of its job's own, so that removing one never removes another's,
and is written where the job said; the gate reads it there as it reads any device's.
"""

import asyncio
import heapq
import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fedquad.errors import DeviceError, ExchangeError, quoted, shown
from fedquad.exchange.exchange import Exchange
from fedquad.learn.jobs import Job, Open, Prepare, to_json
from fedquad.learn.pool import Answer, Pool, WorkerDied, raised
from fedquad.spec import CampaignSpec
from fedquad.store import files
from fedquad.store.campaign import CampaignFolder, home
from fedquad.store.environment import environment
from tasks import exchange_url
from tasks.contents import Contents, asked, tidy
from tasks.job_files import WRITTEN, paths, renamed
from tasks.progress import announce
from tasks.scheduler import Scheduler

SPARE_BYTES = 2**20  # of a delta beyond four times its adapter's size, for what its header says
OF_THE_PLACE = ("commit", "cores", "system", "threads")  # change no bits


def exchange_of(spec: CampaignSpec, folder: CampaignFolder) -> tuple[str, str]:
    """The URL of the place that a campaign shares with a cluster's workers, and its scope there.

    `mlflow` is for the devices of work pools, whose passwords a cluster does not have; a cluster on this machine's files then
    uses a folder of the home.
    """
    scope = exchange_url.scope("d", folder.path)
    if spec.fleet.exchange == "mlflow":
        return str(home() / "cache" / "exchange"), scope
    url = exchange_url.named(spec.fleet.exchange)
    return url if "://" in url else os.path.abspath(url), scope


class Cluster:
    """Workers of a Dask cluster, with the interface of `Pool`."""

    def __init__(self, address: str, url: str, scope: str, join_seconds: float) -> None:
        self.url = url
        self.scope = scope
        self.join_seconds = join_seconds
        self.busy_seconds = 0.0  # in which at least one job was under way
        self.scheduler = Scheduler(address, scope, self._heard)
        self.contents = Contents(exchange_url.opened(url, scope))
        self._opening = ""  # digest of the job that loads the model
        self._backbone = ""  # digest of the weights that the first worker loaded
        self._environment: dict[str, Any] = {}
        self._told: set[str] = set()  # workers that have other versions
        self._numbers = itertools.count()
        self._free: list[
            int
        ] = []  # numbers of jobs that are over; used again, so that what a killed campaign left is found
        self._working = 0
        self._since = 0.0

    async def start(self) -> None:
        """Find the cluster; what an earlier process of the campaign left in the exchange goes."""
        await self.scheduler.connect(self.join_seconds)
        await asked(self.contents.exchange.clear)

    async def open(self, job: Open) -> Answer:
        """Load the model in every worker that is there; one that comes later loads it with its first job."""
        self._environment = environment(job.threads)
        document = await self.contents.sent(to_json(job))
        self._opening = await asked(partial(self.contents.exchange.put, json.dumps(document).encode()))
        try:
            workers = await self.scheduler.workers() or ("",)
            found = await asyncio.gather(*(self._ask({}, "", None, at) for at in workers))
        except WorkerDied as death:
            raise DeviceError(f"a worker was lost while loading the model ({death}); is there memory for it?") from None
        except ExchangeError as error:
            raise ExchangeError(
                f"a worker says: {error}; is {self.url} the same place for it? Set fleet.exchange to an fsspec URL that all machines reach"
            ) from None
        opened: Answer = found[0]["ok"]
        self._backbone = opened["layout"]["digest"]
        if others := {one["ok"]["layout"]["digest"][:12] for one in found} - {self._backbone[:12]}:
            raise DeviceError(
                f"the workers have other weights under the model's name: {self._backbone[:12]}, {', '.join(sorted(others))}; "
                f"have the same files on every machine"
            )
        return opened

    async def do(self, job: Job, deadline_seconds: float | None = None) -> Answer:
        """Have a job done by the cluster; tokens are made here, once, and travel by content."""
        if isinstance(job, Prepare):
            return await self._prepare(job, deadline_seconds)
        document, number = to_json(job), heapq.heappop(self._free) if self._free else next(self._numbers)
        name = f"{self.scope}-{number}"
        outs = {path: str(place) for place, path in enumerate(sorted(paths(document, WRITTEN)))}
        left = exchange_url.opened(self.url, name)
        with self._busy():
            try:
                async with self.contents.lent(document) as sent:
                    answer = await self._ask(renamed(sent, WRITTEN, outs), name, deadline_seconds)
                    most = 4 * self.contents.size(sent) + SPARE_BYTES
                await _fetch(left, answer, outs, most)
                return answer["ok"]  # type: ignore[no-any-return]
            finally:
                if outs:
                    await tidy(left.clear)
                heapq.heappush(self._free, number)

    async def close(self) -> None:
        """Leave the cluster, and nothing of ours in the exchange."""
        await self.scheduler.close()
        await tidy(self.contents.exchange.clear)

    async def _ask(self, job: Mapping[str, Any], out: str, deadline_seconds: float | None, worker: str = "") -> Answer:
        """What a worker answered, as JSON and no more than that."""
        place = {"exchange": self.url, "scope": self.scope, "out": out}
        asked_of = {**place, "opening": self._opening, "backbone": self._backbone, "job": job}
        text = await self.scheduler.ask(asked_of, deadline_seconds, worker)
        answer = _read(text)
        if "error" in answer:
            raise raised(answer)
        return answer

    async def _prepare(self, job: Prepare, deadline_seconds: float | None) -> Answer:
        here = Pool(1, 1)
        try:
            await here.start()
            return await here.do(job, deadline_seconds)
        finally:
            await here.close()

    def _heard(self, facts: Mapping[str, Any]) -> None:
        """A worker says that it has opened the model, and with which versions."""
        worker, theirs = str(facts.get("worker")), facts.get("environment")
        if facts.get("event") != "opened" or not isinstance(theirs, Mapping) or worker in self._told:
            return
        other = [f"{key} {theirs.get(key)}" for key in self._environment if theirs.get(key) != self._environment[key]]
        if other := [line for line in other if line.split()[0] not in OF_THE_PLACE]:
            self._told.add(worker)
            announce(
                "notice",
                message=f"worker {worker} has {shown(', '.join(other))}; its bits may differ from this machine's",
            )

    @contextmanager
    def _busy(self) -> Iterator[None]:
        """Count the time in which somebody works."""
        self._since = self._since if self._working else time.monotonic()
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            if not self._working:
                self.busy_seconds += time.monotonic() - self._since


def _read(text: Any) -> Answer:
    """A worker's answer: what was done, and digests of what it left, or what went wrong."""
    try:
        answer = json.loads(text)
        if "error" in answer:
            return {"error": str(answer["error"]), "kind": str(answer["kind"])}
        return {"ok": dict(answer["ok"]), "out": dict(answer.get("out", {}))}
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DeviceError(f"a worker answered {quoted(text)}; it runs another version") from None


async def _fetch(exchange: Exchange, answer: Answer, outs: Mapping[str, str], most: int) -> None:
    """Write what a job left where it should be."""
    for path, place in outs.items():
        if place in answer["out"]:
            content = await asked(partial(exchange.get, answer["out"][place], most))
            await asyncio.to_thread(files.write_bytes, Path(path), content)
