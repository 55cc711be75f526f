"""What a worker of a Dask cluster does for a campaign: `run`, one JSON text in and one out, is all that it is ever asked for.

    {"exchange": "s3://bucket/fedquad", "scope": "d-1f3a", "out": "d-1f3a-7", "opening": "9f86...", "backbone": "77ab...",
     "topic": "fedquad-d-1f3a", "key": "fedquad-d-1f3a-7", "job": {"op": "train", "adapter": "3b1c...", "out": "0", ...}}
    {"ok": {"device": 7, ...}, "out": {"0": "c0de..."}}

It fetches by digest what the job names, into a folder of its own below Dask's for this worker, and lays the delta into the exchange.
The model is opened with the first job of a campaign and stays; one job at a time, however many threads Dask was told of.
"""

import asyncio
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fedquad.errors import DeviceError, FedquadError
from fedquad.exchange.exchange import Exchange
from fedquad.exchange.patience import patiently
from fedquad.learn.pool import QUIET
from fedquad.learn.worker import Answer, Worker, answer
from fedquad.store.environment import environment
from tasks import exchange_url
from tasks.job_files import READ, WRITTEN, paths, renamed

MOST_CONTENT_BYTES = 2**34  # of a split's tokens, or of an adapter
MOST_KEPT_BYTES = 2**30  # of contents on this worker's disk between two jobs
PATIENCE_SECONDS = 60.0  # for an exchange that is away
Found = TypeVar("Found")
Tell = Callable[[dict[str, Any]], None]
ONE = threading.Lock()
_site: "Site | None" = None


def run(text: str) -> str:
    """Carry out one job; what goes wrong in it is part of the answer."""
    from distributed import get_worker

    global _site
    asked, here = json.loads(text), get_worker()
    with ONE:
        if _site is None:
            _site = Site(Path(here.local_directory) / "fedquad")
        about = {"key": asked["key"], "worker": here.address, "pid": os.getpid()}
        return json.dumps(_site.do(asked, lambda facts: here.log_event(asked["topic"], {**about, **facts})))


class Site:
    """What stays in a worker's process between jobs: one model, and contents by digest on its disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.worker = self._worker()
        self.opening = ""  # digest of the job that loaded the model
        self.opened: Answer = {}  # what that answered
        self.kept: OrderedDict[str, int] = OrderedDict()  # bytes of each content, what was used last at the end
        for key, value in QUIET.items():
            os.environ.setdefault(key, value)

    def do(self, asked: dict[str, Any], tell: Tell) -> Answer:
        """Carry out a job with the campaign's model; without a job, load the model and say what it is."""
        tell({"event": "started"})
        try:
            exchange = exchange_url.opened(asked["exchange"], asked["scope"])
            if self.opening != asked["opening"]:
                self._open(asked["opening"], exchange, tell)
            if "ok" not in self.opened or not asked["job"]:
                return self.opened
            self._check_backbone(asked["backbone"])
            return self._job(asked, exchange)
        except FedquadError as error:
            return {"error": str(error), "kind": type(error).__name__}
        except OSError as error:
            return {"error": f"{self.folder} on this worker cannot be used: {error}", "kind": DeviceError.__name__}
        finally:
            self._trim()

    def _open(self, opening: str, exchange: Exchange, tell: Tell) -> None:
        """Load the model and the splits; where that fails, the next job tries again."""
        self.worker, self.opening, self.opened = self._worker(), "", {}  # the last campaign's model goes first
        job = json.loads(patient(partial(exchange.get, opening, MOST_CONTENT_BYTES)))
        self.opened = answer(self.worker, json.dumps(self._here(job, exchange)))
        if "ok" in self.opened:
            self.opening = opening
            tell({"event": "opened", "environment": environment(job["threads"])})

    def _worker(self) -> Worker:
        return Worker(self.folder / "prefixes")

    def _check_backbone(self, wanted: str) -> None:
        """Refuse to train on other weights than the campaign's."""
        found = self.opened["ok"]["layout"]["digest"]
        if wanted not in ("", found):
            raise DeviceError(
                f"the model's weights have digest {found[:12]} on this worker, but the campaign trains on {wanted[:12]}; "
                f"have the same files under that name on every machine"
            )

    def _job(self, asked: dict[str, Any], exchange: Exchange) -> Answer:
        outs = {name: self.folder / f"{asked['out']}.{name}" for name in paths(asked["job"], WRITTEN)}
        try:
            job = renamed(self._here(asked["job"], exchange), WRITTEN, {name: str(path) for name, path in outs.items()})
            said = answer(self.worker, json.dumps(job))
            left = exchange_url.opened(asked["exchange"], asked["out"])
            made = {name: path.read_bytes() for name, path in outs.items() if path.exists()}
            return {**said, "out": {name: patient(partial(left.put, content)) for name, content in made.items()}}
        finally:
            for path in outs.values():
                path.unlink(missing_ok=True)

    def _here(self, job: dict[str, Any], exchange: Exchange) -> dict[str, Any]:
        """The job with the path of a file here in place of each digest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return renamed(job, READ, {digest: self._fetched(digest, exchange) for digest in paths(job, READ)})  # type: ignore[no-any-return]

    def _fetched(self, digest: str, exchange: Exchange) -> str:
        path = self.folder / f"{digest}.safetensors"
        if digest not in self.kept or not path.exists():
            content = patient(partial(exchange.get, digest, MOST_CONTENT_BYTES))
            path.write_bytes(content)
            self.kept[digest] = len(content)
        self.kept.move_to_end(digest)
        return str(path)

    def _trim(self) -> None:
        """Let go of what was not used for longest."""
        while sum(self.kept.values()) > MOST_KEPT_BYTES:
            digest, _ = self.kept.popitem(last=False)
            (self.folder / f"{digest}.safetensors").unlink(missing_ok=True)


def patient(ask: Callable[[], Found]) -> Found:
    """What the exchange answers; one that is away is asked again for a while."""
    return asyncio.run(patiently(ask, until=time.monotonic() + PATIENCE_SECONDS, tell=print))
