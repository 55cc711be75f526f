"""What a campaign has laid into the exchange for the workers of a cluster: each content once, adapters only while a job needs them."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fedquad.errors import FedquadError
from fedquad.exchange.exchange import Exchange
from fedquad.exchange.patience import patiently
from tasks.job_files import READ, SENT, paths, renamed
from tasks.progress import announce

PATIENCE_SECONDS = 60.0  # for an exchange that is away
Found = TypeVar("Found")


class Contents:
    """Files here, by digest there."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._digests: dict[tuple[str, int, int], str] = {}  # of a file as it was: path, time, size
        self._sizes: dict[str, int] = {}
        self._jobs: Counter[str] = Counter()  # that need an adapter
        self._one = asyncio.Lock()  # nothing is removed while another job finds it there

    async def sent(self, document: dict[str, Any]) -> dict[str, Any]:
        """The job with a digest in place of each file that it reads; all of them stay."""
        names = {path: await self._put(path, is_lent=False) for path in sorted(paths(document, READ))}
        return renamed(document, READ, names)  # type: ignore[no-any-return]

    @asynccontextmanager
    async def lent(self, document: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The same for as long as the job takes: an adapter that no other job needs then goes."""
        lent, names = paths(document, SENT), dict[str, str]()
        try:
            for path in sorted(paths(document, READ)):
                names[path] = await self._put(path, is_lent=path in lent)
            yield renamed(document, READ, names)
        finally:
            await self._give_back([names[path] for path in lent if path in names])

    def size(self, sent: dict[str, Any]) -> int:
        """Bytes of the adapters that a job names."""
        return sum(self._sizes[digest] for digest in paths(sent, SENT))

    async def _put(self, path: str, *, is_lent: bool) -> str:
        async with self._one:
            about = os.stat(path)
            known = (path, about.st_mtime_ns, about.st_size)
            if known not in self._digests:
                content = await asyncio.to_thread(Path(path).read_bytes)
                self._digests[known] = digest = await asked(partial(self.exchange.put, content))
                self._sizes[digest] = len(content)
            digest = self._digests[known]
            self._jobs[digest] += is_lent
            return digest

    async def _give_back(self, digests: list[str]) -> None:
        async with self._one:
            self._jobs.subtract(digests)
            spent = {digest for digest in digests if not self._jobs[digest]}
            for digest in spent:
                del self._jobs[digest], self._sizes[digest]
            self._digests = {known: digest for known, digest in self._digests.items() if digest not in spent}
            await tidy(partial(self.exchange.drop, spent))


async def asked(ask: Callable[[], Found]) -> Found:
    """What the exchange answers; one that is away is asked again for a while."""
    until = time.monotonic() + PATIENCE_SECONDS
    return await patiently(ask, until=until, tell=lambda said: announce("notice", message=said))


async def tidy(remove: Callable[[], None]) -> None:
    """Remove what was exchanged; an exchange that is away costs no round, only its room."""
    try:
        await asyncio.to_thread(remove)
    except FedquadError as error:
        announce("notice", message=f"what was exchanged could not be removed: {error}")
