"""What came back of a round: who answered, how long each took, why the others are left out. Complete whatever a merge reads."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fedquad.rounds import adapters
from fedquad.rounds.refuse import refusal
from fedquad.types import Adapter, Assignment, CostEstimate, Floats, Report, Update


@dataclass(slots=True)
class Ledger:
    """Notes of one pass over the updates, in plan order."""

    accepted: list[tuple[Assignment, CostEstimate, Report]] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)
    seconds: dict[int, float] = field(
        default_factory=dict
    )  # of everyone who was asked: a lost device took its time too
    norms: dict[int, list[float]] = field(default_factory=dict)  # by layer

    def accept(
        self,
        asked: Iterable[tuple[Assignment, CostEstimate]],
        number: int,
        like: Adapter,
        sent: Mapping[int, str],
        updates: Iterable[Update],
    ) -> Iterator[tuple[Assignment, Update]]:
        """Pass on the updates that answer their assignments; write down why the others do not."""
        for (assignment, estimate), update in zip(asked, updates, strict=True):
            device = assignment.device
            self.seconds[device] = update.report.seconds
            if reason := update.report.failure or refusal(update, assignment, number, sent[device], like):
                self.failures[device] = reason
                continue
            ranks = tuple(adapters.ranks(update.delta).values())
            self.accepted.append((assignment, estimate, replace(update.report, ranks=ranks)))
            for layer, norm in update.gradient_norms.items():
                self.norms.setdefault(layer, []).append(norm)
            yield assignment, update

    def mean_norms(self, before: Floats) -> Floats:
        """g_l: mean over the holders; a layer nobody trained keeps its last value, else it would never return (decision 8)."""
        norms = before.copy()
        for layer, values in self.norms.items():
            norms[layer] = np.mean(values)
        return norms
