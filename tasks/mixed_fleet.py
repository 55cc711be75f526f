"""Real devices and simulated ones in one fleet: each job goes where its device is, answers come as they arrive."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from fedquad.types import Statuses
from tasks.fleet import Answer, DeviceFleet, Job
from tasks.joined import Roster


class MixedFleet:
    """The boards that `fleet.pools` names are real, the others are simulated here."""

    def __init__(self, real: DeviceFleet, simulated: DeviceFleet, roster: Roster) -> None:
        self.real = real
        self.simulated = simulated
        self.is_real = frozenset(roster.real())

    async def statuses(self, round: int) -> Statuses:
        return await self.real.statuses(round)  # which has the simulated devices' rows as drawn

    async def train(self, jobs: Sequence[Job], *, round: int, attempt: int) -> AsyncIterator[Answer]:
        parts = (
            (self.real, [job for job in jobs if job.device in self.is_real]),
            (self.simulated, [job for job in jobs if job.device not in self.is_real]),
        )
        arrived: asyncio.Queue[Answer | BaseException | None] = asyncio.Queue()

        async def pour(fleet: DeviceFleet, its: Sequence[Job]) -> None:
            try:
                async for answer in fleet.train(its, round=round, attempt=attempt):
                    arrived.put_nowait(answer)
                arrived.put_nowait(None)
            except BaseException as error:
                arrived.put_nowait(error)
                raise

        pouring = [asyncio.ensure_future(pour(fleet, its)) for fleet, its in parts if its]
        try:
            open_parts = len(pouring)
            while open_parts:
                item = await arrived.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    open_parts -= 1
                else:
                    yield item
        finally:
            for task in pouring:
                task.cancel()
            await asyncio.gather(*pouring, return_exceptions=True)
