"""A Dask cluster as a campaign uses it: one text goes to some worker, one text comes back.

A job whose worker dies is begun again by the cluster, or here where the cluster would not; workers tell of each beginning, so
that it is begun twice at most, whatever the cluster's own `allowed-failures` says, and so that a deadline counts from there.
Dask pickles what it sends: here that is a reference to `cluster_worker.run` and a text.
"""

import asyncio
import itertools
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fedquad.errors import DeviceError, ServiceError, shown
from fedquad.learn.pool import WorkerDied
from tasks import cluster_worker

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 5.0
MOST_BEGUN = 2  # times that a job is begun: once, and once more
NOT_INSTALLED = "fleet.engine is dask, but Dask is not installed here; pip install 'fedquad[dask]'"


class Asked:
    """A job under way: how often it was begun, and what ends the wait for it."""

    def __init__(self, deadline_seconds: float | None) -> None:
        self.deadline_seconds = deadline_seconds
        self.begun = 0
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A worker has begun it."""
        self.begun += 1
        if self.begun > MOST_BEGUN:
            self.give_up("its worker died")
        elif self.deadline_seconds is not None:
            self.forget()
            late = f"its worker had not answered by its deadline of {self.deadline_seconds:g} s"
            self.timer = asyncio.get_running_loop().call_later(self.deadline_seconds, self.give_up, late)

    def give_up(self, why: str) -> None:
        if not self.lost.done():
            self.lost.set_result(why)

    def forget(self) -> None:
        """Wait for no deadline any more."""
        if self.timer is not None:
            self.timer.cancel()


class Scheduler:
    """The scheduler of a cluster that is there already."""

    def __init__(self, address: str, name: str, hear: Callable[[Mapping[str, Any]], None]) -> None:
        self.address = address
        self.topic = f"fedquad-{name}"  # under which workers tell of what they do
        self.hear = hear
        self.client: Client
        self._asked: dict[str, Asked] = {}
        self._numbers = itertools.count()

    async def connect(self, seconds: float) -> None:
        """Find the scheduler, and wait so long for its first worker."""
        try:
            import distributed
        except ImportError:
            raise DeviceError(NOT_INSTALLED) from None
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it would say, our errors do in a line
        try:
            self.client = distributed.Client(
                self.address, asynchronous=True, name="fedquad", timeout=CONNECT_SECONDS, set_as_default=False
            )
            await asyncio.wait_for(_result(self.client), 2 * CONNECT_SECONDS)
        except (OSError, ValueError, TypeError, RuntimeError, asyncio.TimeoutError) as error:
            raise ServiceError(
                f"no Dask scheduler answers at {self.address!r} ({shown(str(error)) or type(error).__name__}); `dask scheduler` "
                f"starts one, and fleet.engine_address or FEDQUAD_ENGINE_ADDRESS says where it is"
            ) from None
        self.client.subscribe_topic(self.topic, self._heard)
        try:
            await self.client.wait_for_workers(1, timeout=seconds)
        except (OSError, asyncio.TimeoutError):
            raise ServiceError(
                f"the Dask scheduler at {self.address} has had no worker for {seconds:g} s (fleet.join_seconds); "
                f"`dask worker {self.address} --nthreads 1` starts one"
            ) from None

    async def workers(self) -> tuple[str, ...]:
        """Addresses of those that are there."""
        return tuple((await self.client.scheduler.identity(n_workers=-1))["workers"])

    async def ask(self, asked: Mapping[str, Any], deadline_seconds: float | None = None, worker: str = "") -> Any:
        """Have a job done, by this worker if it stays; `WorkerDied` if its worker died twice, or was late twice."""
        one = Asked(deadline_seconds)
        for tries in range(1, MOST_BEGUN + 1):
            try:
                return await self._ask(one, asked, worker)
            except WorkerDied:
                one.begun = max(one.begun, tries)
                if one.begun >= MOST_BEGUN:
                    raise
                one.lost = asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Leave the cluster as it was; what it is at for us ends."""
        if not hasattr(self, "client"):
            return
        with suppress(OSError, asyncio.TimeoutError):  # of a scheduler that is gone
            await asyncio.wait_for(self.client.close(), CLOSE_SECONDS)

    async def _ask(self, one: Asked, asked: Mapping[str, Any], worker: str) -> Any:
        key = f"{self.topic}-{next(self._numbers)}"
        text = json.dumps({**asked, "topic": self.topic, "key": key})
        place = {"workers": [worker], "allow_other_workers": True} if worker else {}
        try:
            future = self.client.submit(cluster_worker.run, text, key=key, pure=False, **place)
        except (OSError, RuntimeError) as error:
            raise self._gone(error) from None
        self._asked[key] = one
        answer = asyncio.ensure_future(_result(future))
        try:
            await asyncio.wait({answer, one.lost}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise WorkerDied(one.lost.result())
            if (failure := answer.exception()) is not None:
                raise self._explained(failure, one, is_done=future.status == "error") from None
            return answer.result()
        finally:
            del self._asked[key]
            one.forget()
            answer.cancel()
            future.release()  # the cluster forgets a job that nobody waits for

    def _explained(self, error: BaseException, one: Asked, is_done: bool) -> Exception:
        """Why a job has no answer, as one of our errors."""
        import distributed

        if isinstance(error, distributed.KilledWorker):
            one.begun = max(one.begun, error.allowed_failures + 1)
            return WorkerDied(f"its worker {error.last_worker.address} died")
        if is_done:
            return DeviceError(
                f"a worker cannot take jobs: {type(error).__name__}: {shown(str(error))}; it needs this version of FedQuad, "
                f"pip install 'fedquad[learn,dask]'"
            )
        return self._gone(error)

    def _gone(self, error: BaseException) -> ServiceError:
        return ServiceError(
            f"the Dask scheduler at {self.address} is gone ({shown(str(error)) or type(error).__name__}); "
            f"`fedquad campaign resume NAME` goes on when it is back"
        )

    def _heard(self, event: tuple[float, Any]) -> None:
        facts = event[1]
        if not isinstance(facts, Mapping):
            return
        one = self._asked.get(str(facts.get("key")))
        if one is not None and facts.get("event") == "started":
            one.begin()
        self.hear(facts)


async def _result(found: "Client | Future") -> Any:
    """What an awaitable of Dask's becomes."""
    return await found
