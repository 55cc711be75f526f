"""The interface of a fleet, simulated or real: what its devices report, and training on them.

An answer is JSON (`wire.answer`) whose tensors lie in the file that the job named. Whatever goes wrong with a device is an answer
too, with a `failure` in its report.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fedquad.types import CostEstimate, Statuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One device's work of a round, as JSON, and what it was priced at."""

    device: int
    document: dict[str, Any]
    estimate: CostEstimate


class DeviceFleet(Protocol):
    """A fleet of devices."""

    async def statuses(self, round: int) -> Statuses:
        """What every device reports at the start of a round."""
        ...

    def train(self, jobs: Sequence[Job], *, round: int, attempt: int) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """Carry out the jobs; yield (device, answer) in order of arrival."""
        ...
