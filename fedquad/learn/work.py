"""One device's round while it runs: what it was given, what its steps leave behind, and what became of the adapter."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fedquad.learn.batches import Batches
from fedquad.learn.configure import Learning
from fedquad.learn.model import ADAPTER, Trainee
from fedquad.learn.optimizer import Optimizer, squares
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
        self.norms, self.powers, self.steps = zeros, zeros.clone(), np.zeros(len(zeros))

    def note(self, loss: torch.Tensor) -> torch.Tensor:
        """Enter a step whose gradients are there; return the squared norm of each learning parameter's gradient."""
        power = squares(self.learning.parameters)
        lora = len(power) - len(self.learning.head)  # LoRA's come first, layer by layer, equally many each
        layers = power[:lora].view(len(self.learning.layers), -1).sum(1) if lora else self.powers
        self.losses.append(loss)
        self.norms = self.norms + layers.sqrt()
        self.powers = self.powers + layers
        self.steps += [self.learning.is_learning(layer) for layer in self.learning.layers]
        return power

    def mean_norms(self) -> Floats:
        """Each trained layer's gradient norm, averaged over the steps in which it learned."""
        return np.asarray(self.norms.double().cpu().numpy() / np.maximum(self.steps, 1), np.float64)

    def mean_squares(self) -> Floats:
        return np.asarray(self.powers.double().cpu().numpy() / np.maximum(self.steps, 1), np.float64)

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
        rank = work.assignment.rank_of(layer)
        for target in work.trainee.layout.targets:
            pair = work.adapter.layers[layer][target]
            values += [pair.b[:, :rank]] if work.assignment.local.train_b_only else [pair.a[:rank], pair.b[:, :rank]]
    values += [work.adapter.head[name] for name in work.learning.head]
    return [torch.tensor(np.ascontiguousarray(value), device=work.trainee.device) for value in values]


def trained_values(work: Work, optimizer: Optimizer) -> Adapter:
    """What the trained layers and the head have become, in float32."""
    values = {id(p): m.detach().cpu().numpy() for p, m in zip(optimizer.parameters, optimizer.masters)}
    if not all(np.isfinite(value).all() for value in values.values()):
        raise Failed(f"its weights are not finite after {work.assignment.steps} steps")

    def value(module: Any, sent: Array32) -> Array32:
        return values.get(id(module[ADAPTER].weight), sent)

    layers: dict[int, dict[str, Lora]] = {}
    for layer in work.learning.layers:
        rank, sent = work.assignment.rank_of(layer), work.adapter.layers[layer]
        layers[layer] = {
            target: Lora(value(module.lora_A, sent[target].a[:rank]), value(module.lora_B, sent[target].b[:, :rank]))
            for target, module in work.trainee.lora(layer).items()
        }
    return Adapter(layers=layers, head={name: values[id(p)] for name, p in work.learning.head.items()})


def difference(trained: Adapter, sent: Adapter, ranks: dict[int, int]) -> Adapter:
    """What training changed, at the ranks that the device keeps."""
    layers: dict[int, dict[str, Lora]] = {}
    for layer, pairs in trained.layers.items():
        r, old = ranks[layer], sent.layers[layer]
        layers[layer] = {
            target: Lora(_minus(pair.a[:r], old[target].a[:r]), _minus(pair.b[:, :r], old[target].b[:, :r]))
            for target, pair in pairs.items()
        }
    return Adapter(layers=layers, head={name: _minus(value, sent.head[name]) for name, value in trained.head.items()})


def _minus(new: Array32, old: Array32) -> Array32:
    change = np.ascontiguousarray(new - old)
    change.flags.writeable = False
    return change


def lora_norm(adapter: Adapter) -> float:
    """sqrt of the sum of |B A|_F^2 = tr(B'B AA'), which never forms B A."""
    total = 0.0
    for pairs in adapter.layers.values():
        for pair in pairs.values():
            a, b = pair.a.astype(np.float64), pair.b.astype(np.float64)
            total += float(np.sum((b.T @ b) * (a @ a.T)))
    return math.sqrt(total)
