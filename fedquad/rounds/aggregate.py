"""Merge updates layer by layer, over whoever trained each layer (the paper's Eq. 19).

    theta_l' = theta_l + s_l sum_i w_i,l delta_i,l / sum_i w_i,l        over the holders i of layer l

s_l is 1, unless deltas are merged per length (`per_length`: FedNova's a_i, for AdamW the sum of the rates of its steps; delta_i stands
for delta_i / a_i then, and s_l is the mean of a_i), so that whoever took more steps does not pull further.

Sums run in float64 and in plan order, whatever the order of arrival; layers that nobody trained come back
bit-identical. A and B are averaged separately. Weights are kept per LoRA row, so that devices of unequal ranks merge by
the same sum: the mean over the holders of a row. One update is in memory at a time (benchmarks/merge_memory.csv).

The pieces compose: a weight per layer (`uniform`, `by_examples`, `by_steps`, `by_lora_norm`, or `within` some layers alone, times
the answers' tokens with `by_amount`), one
sum (`total`, or `Totals.add` into several), and what becomes of it (`mean`, `zero_padded`, `mean_head`, `mean_delta`).

Padding with zeros (HetLoRA) averages whole factors instead of deltas, a row that a device lacks counting as zero:

    theta_row' = sum over holders of the row of w_i (theta_row + delta_i,row) / sum over holders of the layer of w_i

All adapters are in one unit, whatever their rank (adapters.py), so rows add up without being rescaled.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from fedquad.rounds.adapters import freeze
from fedquad.types import Adapter, Array32, Assignment, Floats, Lora, Report, Update

LEAST_NORM = 1e-30  # below any norm that training gives: where all are zero, all count the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much one update counts, per layer it trained and for the head."""

    layers: Mapping[int, float]
    head: float
    length: float = 1.0  # of the update: its delta counts per so much


Weigh = Callable[[Assignment, Report], Weights]
Unit = Literal["", "examples", "tokens"]  # of what a device learns from


def uniform(assignment: Assignment, report: Report) -> Weights:
    """Every holder of a layer counts the same (Eq. 19)."""
    return Weights(layers=dict.fromkeys(assignment.trained, 1.0), head=1.0)


def by_examples(assignment: Assignment, report: Report) -> Weights:
    """Every holder counts by the examples it trained on (FedAvg)."""
    return Weights(layers=dict.fromkeys(assignment.trained, float(report.examples)), head=float(report.examples))


def by_amount(weigh: Weigh, unit: Unit) -> Weigh:
    """The same weights, times how much a device learned from; of weights that are its examples already, that in their place."""
    if not unit:
        return weigh

    def weighed(assignment: Assignment, report: Report) -> Weights:
        amount = float(getattr(report, unit))
        weights = uniform(assignment, report) if weigh is by_examples else weigh(assignment, report)
        layers = {layer: amount * weight for layer, weight in weights.layers.items()}
        return replace(weights, layers=layers, head=amount * weights.head)

    return weighed


def by_steps(assignment: Assignment, report: Report) -> Weights:
    """Every holder counts by the steps it took."""
    return Weights(layers=dict.fromkeys(assignment.trained, float(assignment.steps)), head=float(assignment.steps))


def per_length(weigh: Weigh) -> Weigh:
    """The same weights on deltas per length, the sum of the rates of their steps: FedNova's normalised merge for AdamW, layer by layer."""

    def weighed(assignment: Assignment, report: Report) -> Weights:
        return replace(weigh(assignment, report), length=assignment.steps * assignment.learning_rate)

    return weighed


def by_lora_norm(assignment: Assignment, report: Report) -> Weights:
    """Every holder counts by |B A|_F over all its pairs (HetLoRA's sparsity weights), in the head all the same."""
    return Weights(layers=dict.fromkeys(assignment.trained, max(report.lora_norm, LEAST_NORM)), head=1.0)


def within(weights: Weights, layers: Collection[int], *, has_head: bool = True) -> Weights:
    """The same weights over some of the layers, with or without the head."""
    kept = {layer: weight for layer, weight in weights.layers.items() if layer in layers}
    return replace(weights, layers=kept, head=weights.head if has_head else 0.0)


@dataclass(slots=True, kw_only=True)
class Totals:
    """Weighted sums of deltas, and the weights that went into each row of each layer; grows in place."""

    a: dict[tuple[int, str], Floats] = field(default_factory=dict)  # (layer, target) -> rank x in
    b: dict[tuple[int, str], Floats] = field(default_factory=dict)  # (layer, target) -> out x rank
    rows: dict[int, Floats] = field(default_factory=dict)  # layer -> weight of each LoRA row
    lengths: dict[int, Floats] = field(default_factory=dict)  # layer -> the same, each weight times its update's length
    head: dict[str, Floats] = field(default_factory=dict)
    head_weight: float = 0.0
    head_length: float = 0.0
    updates: int = 0

    def add(self, like: Adapter, delta: Adapter, weights: Weights) -> None:
        """Add one update; `like` gives the shapes of the global adapter."""
        self.updates += 1
        length = weights.length
        for layer, weight in weights.layers.items():
            share = weight / length
            for target, pair in delta.layers[layer].items():
                whole = like.layers[layer][target]
                sum_a = self.a.setdefault((layer, target), np.zeros(whole.a.shape))
                sum_b = self.b.setdefault((layer, target), np.zeros(whole.b.shape))
                sum_a[: pair.rank] += share * pair.a.astype(np.float64)
                sum_b[:, : pair.rank] += share * pair.b.astype(np.float64)
                rank, held = whole.rank, pair.rank
            rows = self.rows.setdefault(layer, np.zeros(rank))
            rows[:held] += weight
            lengths = self.lengths.setdefault(layer, np.zeros(rank))
            lengths[:held] += weight * length
        self.head_weight += weights.head
        self.head_length += weights.head * length
        for name, array in delta.head.items():
            total = self.head.setdefault(name, np.zeros(array.shape))
            total += weights.head / length * array.astype(np.float64)


def total(like: Adapter, answers: Iterable[tuple[Assignment, Update]], weigh: Weigh) -> Totals:
    """Sum the answers' deltas, each with its weight."""
    totals = Totals()
    for assignment, update in answers:
        totals.add(like, update.delta, weigh(assignment, update.report))
    return totals


def mean(adapter: Adapter, totals: Totals) -> Adapter:
    """Move each layer by the weighted mean of its holders' deltas; what nobody holds stays the very same array."""

    def shares(layer: int) -> tuple[Floats, Floats]:
        return np.ones_like(totals.rows[layer]), _share(totals, layer)

    return _merged(adapter, totals, shares)


def zero_padded(adapter: Adapter, totals: Totals) -> Adapter:
    """Average each layer's whole factors over its holders, narrow ones padded with zeros; the head as in `mean`."""

    def shares(layer: int) -> tuple[Floats, Floats]:
        rows = totals.rows[layer]
        whole = np.full_like(rows, rows.max(initial=0.0))  # every holder of the layer holds its first row
        return np.where(whole > 0, rows * _inverse(whole), 1.0), _inverse(whole)

    return _merged(adapter, totals, shares)


def mean_head(head: Mapping[str, Array32], totals: Totals) -> Mapping[str, Array32]:
    """Move the head by the weighted mean over everyone who answered."""
    if totals.head_weight == 0:
        return head
    length = totals.head_length / totals.head_weight
    return {
        name: freeze((array + length * totals.head[name] / totals.head_weight).astype(np.float32))
        if name in totals.head
        else array
        for name, array in head.items()
    }


def mean_delta(totals: Totals, layer: int) -> dict[tuple[str, str], Floats]:
    """The weighted mean of a layer's deltas, by target and factor: ("attention.self.query", "a") -> rank x in."""
    share = _share(totals, layer)
    found = {(target, "a"): array * share[:, None] for (held, target), array in totals.a.items() if held == layer}
    return found | {
        (target, "b"): array * share[None, :] for (held, target), array in totals.b.items() if held == layer
    }


def moved(pairs: Mapping[str, Lora], delta: Mapping[tuple[str, str], Floats]) -> Mapping[str, Lora]:
    """A layer's pairs with a delta added to them."""
    return {
        target: Lora(
            freeze((pair.a + delta[target, "a"]).astype(np.float32)),
            freeze((pair.b + delta[target, "b"]).astype(np.float32)),
        )
        for target, pair in pairs.items()
    }


def _merged(adapter: Adapter, totals: Totals, shares: Callable[[int], tuple[Floats, Floats]]) -> Adapter:
    """Of each row keep one share and add the other of its sum."""
    layers = dict(adapter.layers)
    for layer in totals.rows:
        keep, add = shares(layer)
        layers[layer] = {
            target: Lora(
                freeze((pair.a * keep[:, None] + totals.a[layer, target] * add[:, None]).astype(np.float32)),
                freeze((pair.b * keep[None, :] + totals.b[layer, target] * add[None, :]).astype(np.float32)),
            )
            for target, pair in adapter.layers[layer].items()
        }
    return Adapter(layers=layers, head=mean_head(adapter.head, totals))


def _share(totals: Totals, layer: int) -> Floats:
    """What each row's sum is multiplied with to be a mean; a mean length of 1 changes no bit."""
    share = _inverse(totals.rows[layer])
    length = np.divide(totals.lengths[layer], totals.rows[layer], out=np.ones_like(share), where=share > 0)
    return share * length


def _inverse(weights: Floats) -> Floats:
    """One over each weight; zero where nobody weighs anything."""
    inverse: Floats = np.divide(1.0, weights, out=np.zeros_like(weights), where=weights > 0)
    return inverse
