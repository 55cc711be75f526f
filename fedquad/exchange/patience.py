"""An exchange that is away is asked again until a time is up: a server that is restarted costs seconds, and no round.

digest = await patiently(partial(exchange.put, content), until=time.monotonic() + 60, tell=print)
"""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from fedquad.exchange.medium import Away

AGAIN_SECONDS = 1.0
Found = TypeVar("Found")


async def patiently(ask: Callable[[], Found], *, until: float, tell: Callable[[str], None]) -> Found:
    """What the exchange answers; it is away no longer than until this time of time.monotonic(), or `Away` says why."""
    while True:
        try:
            return await asyncio.to_thread(ask)
        except Away as away:
            if time.monotonic() + AGAIN_SECONDS > until:
                raise
            tell(f"{away}; asking again")
        await asyncio.sleep(AGAIN_SECONDS)
