"""What came back of a round: who answered, how long each took, why the others are left out. Written before anything is merged, so
that it is complete whatever a merge reads.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fedquad.rounds import adapters, bounds
from fedquad.rounds.refuse import refusal
from fedquad.types import Adapter, Assignment, CostEstimate, Floats, Report, Update

Asked = tuple[tuple[Assignment, CostEstimate], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """What is kept of an update that is going to be merged."""

    assignment: Assignment
    estimate: CostEstimate
    report: Report
    gradient_norms: Mapping[int, float]
    measures: Floats
    norm: float
    digest: str


@dataclass(slots=True)
class Ledger:
    """Notes on the updates, in plan order."""

    accepted: list[Accepted] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)  # of those that failed: not lost, but not let in
    seconds: dict[int, float] = field(
        default_factory=dict
    )  # of everyone who was asked: a lost device took its time too

    def read(
        self,
        asked: Asked,
        number: int,
        like: Adapter,
        sent: Mapping[int, str],
        updates: Iterable[Update],
        medians: Floats,
        bound: float,
    ) -> None:
        """Look at every update once, and decide which of them count."""
        for (assignment, estimate), update in zip(asked, updates, strict=True):
            self.seconds[assignment.device] = update.report.seconds
            if update.report.failure:
                self._leave_out(assignment.device, update.report.failure, update.is_refused)
            elif reason := refusal(update, assignment, number, sent[assignment.device], like):
                self._leave_out(assignment.device, reason, True)
            else:
                self._weigh(assignment, estimate, update, len(like.layers), bound > 0)
        limit = bounds.limits([one.measures for one in self.accepted], medians, bound)
        for one in tuple(self.accepted):
            if reason := bounds.beyond(one.measures, limit):
                self._strike(one, reason)

    def _weigh(
        self, assignment: Assignment, estimate: CostEstimate, update: Update, layers: int, is_bounded: bool
    ) -> None:
        measured = bounds.measures(update.delta, assignment, layers)
        if is_bounded and (reason := bounds.beyond_absolute(update.delta, measured)):
            self._leave_out(assignment.device, reason, True)
            return
        ranks = tuple(adapters.ranks(update.delta).values())
        norm = bounds.norm_of(update.delta)
        report = replace(update.report, ranks=ranks)
        self.accepted.append(
            Accepted(assignment, estimate, report, update.gradient_norms, measured, norm, update.digest)
        )

    def _leave_out(self, device: int, reason: str, is_refused: bool) -> None:
        self.failures[device] = reason
        if is_refused:
            self.refused.add(device)

    def _strike(self, one: Accepted, reason: str) -> None:
        self.accepted.remove(one)
        self._leave_out(one.assignment.device, reason, True)

    def answers(self, asked: Asked, updates: Iterable[Update]) -> Iterator[tuple[Assignment, Update]]:
        """The accepted updates, read once more; one that is not what it was at the first reading is left out after all."""
        counted = {one.assignment.device: one for one in self.accepted}
        for (assignment, _), update in zip(asked, updates, strict=True):
            one = counted.get(assignment.device)
            if one is None:
                continue
            if update.report.failure or update.digest != one.digest:
                self._strike(one, update.report.failure or "its tensors changed while they were read")
                continue
            yield assignment, update

    def mean_norms(self, before: Floats) -> Floats:
        """g_l: mean over the holders; a layer nobody trained keeps its last value, else it would never return (decision 8)."""
        norms = before.copy()
        for layer in {layer for one in self.accepted for layer in one.gradient_norms}:
            norms[layer] = np.mean([one.gradient_norms[layer] for one in self.accepted if layer in one.gradient_norms])
        return norms
