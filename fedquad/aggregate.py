"""Merge updates layer by layer, over whoever trained each layer (the paper's Eq. 19).

    theta_l' = theta_l + sum_i w_i,l delta_i,l / sum_i w_i,l        over the holders i of layer l

Sums run in float64 and in plan order, whatever the order of arrival; layers that nobody trained come back bit-identical. A
and B are averaged separately. Weights are kept per LoRA row, so that devices of unequal ranks merge by the same sum: the mean
over the holders of a row. One update is in memory at a time.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fedquad.adapters import freeze
from fedquad.types import Adapter, Array32, Assignment, Floats, Lora, Report, Update


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much one update counts, per layer it trained and for the head."""

    layers: Mapping[int, float]
    head: float


Weigh = Callable[[Assignment, Report], Weights]


def uniform(assignment: Assignment, report: Report) -> Weights:
    """Every holder of a layer counts the same (Eq. 19)."""
    return Weights(layers=dict.fromkeys(assignment.trained, 1.0), head=1.0)


def by_examples(assignment: Assignment, report: Report) -> Weights:
    """Every holder counts by the examples it trained on (FedAvg)."""
    return Weights(layers=dict.fromkeys(assignment.trained, float(report.examples)), head=float(report.examples))


@dataclass(slots=True, kw_only=True)
class Totals:
    """Weighted sums of deltas, and the weights that went into each row of each layer. Grows in place, update by update."""

    a: dict[tuple[int, str], Floats] = field(default_factory=dict)  # (layer, target) -> rank x in
    b: dict[tuple[int, str], Floats] = field(default_factory=dict)  # (layer, target) -> out x rank
    rows: dict[int, Floats] = field(default_factory=dict)  # layer -> weight of each LoRA row
    head: dict[str, Floats] = field(default_factory=dict)
    head_weight: float = 0.0
    holders: dict[int, int] = field(default_factory=dict)  # layer -> n_l
    updates: int = 0

    def add(self, like: Adapter, delta: Adapter, weights: Weights) -> None:
        """Add one update; `like` gives the shapes of the global adapter."""
        self.updates += 1
        for layer, weight in weights.layers.items():
            self.holders[layer] = self.holders.get(layer, 0) + 1
            for target, pair in delta.layers[layer].items():
                whole = like.layers[layer][target]
                sum_a = self.a.setdefault((layer, target), np.zeros(whole.a.shape))
                sum_b = self.b.setdefault((layer, target), np.zeros(whole.b.shape))
                sum_a[: pair.rank] += weight * pair.a.astype(np.float64)
                sum_b[:, : pair.rank] += weight * pair.b.astype(np.float64)
                rank, held = whole.rank, pair.rank
            rows = self.rows.setdefault(layer, np.zeros(rank))
            rows[:held] += weight
        self.head_weight += weights.head
        for name, array in delta.head.items():
            total = self.head.setdefault(name, np.zeros(array.shape))
            total += weights.head * array.astype(np.float64)


def total(like: Adapter, answers: Iterable[tuple[Assignment, Update]], weigh: Weigh) -> Totals:
    """Sum the answers' deltas, each with its weight."""
    totals = Totals()
    for assignment, update in answers:
        totals.add(like, update.delta, weigh(assignment, update.report))
    return totals


def mean(adapter: Adapter, totals: Totals) -> Adapter:
    """Move each layer by the weighted mean of its holders' deltas; what nobody holds stays the very same array."""
    layers = {
        layer: {target: _moved(pair, totals, layer, target) for target, pair in pairs.items()} if layer in totals.rows else pairs
        for layer, pairs in adapter.layers.items()
    }
    return Adapter(layers=layers, head=mean_head(adapter.head, totals))


def mean_head(head: Mapping[str, Array32], totals: Totals) -> Mapping[str, Array32]:
    """Move the head by the weighted mean over everyone who answered."""
    if totals.head_weight == 0:
        return head
    return {
        name: freeze((array + totals.head[name] / totals.head_weight).astype(np.float32)) if name in totals.head else array
        for name, array in head.items()
    }


def _moved(pair: Lora, totals: Totals, layer: int, target: str) -> Lora:
    weight = totals.rows[layer]
    share = np.divide(1.0, weight, out=np.zeros_like(weight), where=weight > 0)
    a = pair.a + totals.a[layer, target] * share[:, None]
    b = pair.b + totals.b[layer, target] * share[None, :]
    return Lora(freeze(a.astype(np.float32)), freeze(b.astype(np.float32)))
