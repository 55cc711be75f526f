"""The interface of a fleet, simulated or real: what its devices report, and training on them.

An answer's tensors lie in the file that the job named. Whatever goes wrong with a device is an answer too, with a `failure` in its
report.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fedquad.learn.jobs import Train
from fedquad.types import CostEstimate, Statuses


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What came back of a job: JSON as the device left it (`wire.answer`), which nobody but the gate reads."""

    device: int
    document: bytes
    waited: float  # seconds by the server's own clock; a simulated fleet's are the ones it charges
    about: Mapping[str, Any] = field(default_factory=dict)  # how it came, for the facts: a real fleet's run and times


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One device's work of a round, and what it was priced at."""

    device: int
    train: Train
    estimate: CostEstimate
    cohort: int | None = None  # jobs of one number are trained together, where the fleet can


class DeviceFleet(Protocol):
    """A fleet of devices."""

    async def statuses(self, round: int) -> Statuses:
        """What every device reports at the start of a round."""
        ...

    def train(self, jobs: Sequence[Job], *, round: int, attempt: int) -> AsyncIterator[Answer]:
        """Carry out the jobs; yield the answers in order of arrival."""
        ...


async def in_order_of_arrival(trainings: Iterable[Coroutine[Any, Any, Sequence[Answer]]]) -> AsyncIterator[Answer]:
    """Run all at once, each of one device or of several; whoever stops listening cancels what is still under way."""
    work = [asyncio.ensure_future(training) for training in trainings]
    try:
        for finished in asyncio.as_completed(work):
            for answer in await finished:
                yield answer
    finally:
        for task in work:
            task.cancel()
