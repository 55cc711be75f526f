"""Where the simulated devices of a campaign train (`fleet.engine`): processes of this machine, or a Dask cluster."""

import os
from typing import Any, Protocol

from fedquad.errors import SpecError
from fedquad.learn.jobs import Job, Open
from fedquad.learn.pool import Pool, cores
from fedquad.spec import CampaignSpec
from fedquad.store.campaign import CampaignFolder, home

Answer = dict[str, Any]


class Engine(Protocol):
    """Whoever carries out jobs; which of its processes does one never changes a bit."""

    busy_seconds: float

    async def start(self) -> None: ...

    async def open(self, job: Open) -> Answer: ...

    async def do(self, job: Job, deadline_seconds: float | None = None) -> Answer: ...

    async def close(self) -> None: ...


def engine_of(spec: CampaignSpec, folder: CampaignFolder) -> Engine:
    """The engine that a campaign asks for; it is not started yet."""
    threads = spec.training.threads
    if spec.fleet.engine == "local":
        return Pool(cores(threads), threads, home() / "cache" / "prefixes")
    from tasks.cluster import Cluster, exchange_of  # and with it what a worker needs

    address = spec.fleet.engine_address or os.environ.get("FEDQUAD_ENGINE_ADDRESS", "")
    if not address:
        raise SpecError(
            "fleet.engine is dask, but neither fleet.engine_address nor FEDQUAD_ENGINE_ADDRESS says where its scheduler is; "
            "it is tcp://HOST:8786"
        )
    return Cluster(address, *exchange_of(spec, folder), spec.fleet.join_seconds)
