"""One device's round while it runs: what it was given, what its steps leave behind, and what became of the adapter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fedquad.learn.batches import Batches
from fedquad.learn.configure import Learning
from fedquad.learn.model import Trainee
from fedquad.learn.optimizer import squares
from fedquad.rounds.adapters import freeze
from fedquad.spec import TrainingSpec
from fedquad.types import Adapter, Array32, Assignment, Floats, Lora


class Failed(Exception):
    """Why a device has no update; `train` turns it into an update that says so."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """One device's round, configured and ready to run."""

    trainee: Trainee
    assignment: Assignment
    adapter: Adapter
    learning: Learning
    batches: Batches
    training: TrainingSpec
    key: tuple[int | str, ...]


class Journal:
    """Losses and gradient norms of the steps, left on the device until the end: a GPU then never waits for them."""

    def __init__(self, work: Work) -> None:
        self.assignment, self.learning = work.assignment, work.learning
        self.losses: list[torch.Tensor] = []
        zeros = torch.zeros(len(self.learning.layers), device=work.trainee.device)
        self.norms, self.powers = zeros, zeros.clone()

    def note(self, loss: torch.Tensor) -> torch.Tensor:
        """Enter a step whose gradients are there; return the squared norm of each learning parameter's gradient."""
        power = squares(self.learning.parameters)
        lora = len(power) - len(self.learning.head)  # LoRA's come first, layer by layer, equally many each
        layers = power[:lora].view(len(self.learning.layers), -1).sum(1) if lora else self.powers
        self.losses.append(loss)
        self.norms = self.norms + layers.sqrt()
        self.powers = self.powers + layers
        return power

    def mean_norms(self) -> Floats:
        """Each trained layer's gradient norm, averaged over the steps."""
        return self._mean(self.norms)

    def mean_squares(self) -> Floats:
        return self._mean(self.powers)

    def _mean(self, summed: torch.Tensor) -> Floats:
        return np.asarray(summed.double().cpu().numpy() / max(len(self.losses), 1), np.float64)

    def mean_loss(self) -> float:
        """Return the mean loss over the steps, or fail at the first that is not a number."""
        values = torch.stack(self.losses).tolist() if self.losses else []
        for step, value in enumerate(values, start=1):
            if not math.isfinite(value):
                rate = self.assignment.learning_rate
                raise Failed(f"the loss is {value} at step {step} of {len(values)} (learning rate {rate:g})")
        return float(np.mean(values)) if values else math.nan


def sent_values(work: Work) -> list[torch.Tensor]:
    """The float32 originals of what learns, in the order of `learning.parameters`; the model may hold them rounded."""
    values: list[Array32] = []
    for layer in work.learning.layers:
        for target in work.trainee.layout.targets:
            values += sent_pair(work, layer, target)
    values += [work.adapter.head[name] for name in work.learning.head]
    return [torch.tensor(np.ascontiguousarray(value), device=work.trainee.device) for value in values]


def sent_pair(work: Work, layer: int, target: str) -> tuple[Array32, Array32]:
    """A pair as the device trains it: at its rank, B in that rank's unit."""
    rank, pair = work.assignment.rank_of(layer), work.adapter.layers[layer][target]
    return pair.a[:rank], np.float32(work.trainee.unit(rank)) * pair.b[:, :rank]


def changes(work: Work, learned: Sequence[Array32]) -> Adapter:
    """What training changed in the trained layers and the head, in float32 and the campaign's unit; `learned` is as `sent_values`."""
    if not all(np.isfinite(value).all() for value in learned):
        raise Failed(f"its weights are not finite after {work.assignment.steps} steps")
    values = iter(learned)
    layers: dict[int, dict[str, Lora]] = {}
    for layer in work.learning.layers:
        unit, layers[layer] = np.float32(work.trainee.unit(work.assignment.rank_of(layer))), {}
        for target in work.trainee.layout.targets:
            a, b = sent_pair(work, layer, target)
            layers[layer][target] = Lora(next(values) - a, (next(values) - b) / unit)
    head = {name: freeze(next(values) - work.adapter.head[name]) for name in work.learning.head}
    return Adapter(layers=layers, head=head)


def lora_norm(work: Work, changed: Adapter) -> float:
    """sqrt of the sum of |B A|_F^2 over all layers present, as they are now."""
    total = 0.0
    for layer, rank in zip(work.assignment.present, work.assignment.ranks):
        for target, pair in work.adapter.layers.get(layer, {}).items():
            change = changed.layers.get(layer, {}).get(target)
            a, b = pair.a[:rank], pair.b[:, :rank]
            if change is not None:
                a, b = a + change.a, b + change.b
            total += norm_of(a, b)
    return math.sqrt(total)


def norm_of(a: Array32, b: Array32) -> float:
    """|B A|_F^2 = tr(B'B AA'); B A is never formed."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    return float(np.sum((wide_b.T @ wide_b) * (wide_a @ wide_a.T)))
