"""The process of `fedquad up` that makes pools and deployments, then runs what is scheduled in the pool `campaigns`, one at a time."""

import asyncio
import contextlib
import os
import signal

from fedquad.store.campaign import home
from flows import settings
from flows.provision import CAMPAIGNS, provision
from flows.upkeep import wait_for

LIMIT = 1


async def serve() -> None:
    """Provision, then work until told to stop."""
    from prefect.client.orchestration import get_client

    from flows.worker import FedquadWorker

    wait_for(f"{os.environ['PREFECT_API_URL']}/health")
    async with get_client() as client:
        await provision(client)
    await FedquadWorker(work_pool_name=CAMPAIGNS, name="campaigns", limit=LIMIT, create_pool_if_not_found=False).start()


def main() -> None:
    """End on SIGTERM as on Ctrl-C: the run at hand is told, and Prefect hears how it ended."""
    settings.apply(home())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())


if __name__ == "__main__":
    main()
