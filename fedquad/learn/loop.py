"""A device's round: the assignment, some steps of AdamW on the device's own examples, and what came of it.

    update = train(trainee, assignment, adapter, shard, training=spec.training, key=(seed, attempt, round, device),
                   round=3, based_on=digest(adapter))
    update.report.failure    # "" or why there is no update: no examples, a loss that is not a number, no memory
 Randomness is the key's alone (the order of examples, dropout, which layers are active); on one CPU thread the same
call gives the same bits.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

from fedquad import rng
from fedquad.learn.batches import Batches, losses
from fedquad.learn.configure import Coverage, Learning, configure
from fedquad.learn.model import ADAPTER, Trainee
from fedquad.learn.optimizer import Optimizer, clip, squares
from fedquad.learn.peak import peak_memory
from fedquad.learn.penalties import add_proximal, add_tail, pruned_ranks, tail_size
from fedquad.learn.seeding import seeded
from fedquad.learn.tokens import Encoded
from fedquad.spec import TrainingSpec
from fedquad.types import Adapter, Array32, Assignment, Floats, Lora, Report, Update

NOTHING = Adapter(layers={}, head={})


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What the work came to; the frame around it adds whose it was and what it took."""

    delta: Adapter = NOTHING
    gradient_norms: dict[int, float]
    signals: dict[str, Floats]
    loss: float
    lora_norm: float = 0.0


def train(
    trainee: Trainee,
    assignment: Assignment,
    adapter: Adapter,
    data: Encoded,
    *,
    training: TrainingSpec,
    key: tuple[int | str, ...],
    round: int,
    based_on: str,
    coverage: Coverage = "full",
) -> Update:
    """Train the assignment's layers and the head from `adapter`, or answer its probe; a failure is a value."""
    started = time.perf_counter()
    update = Update(device=assignment.device, round=round, based_on=based_on, delta=NOTHING)
    report = Report(examples=len(data))
    with peak_memory(trainee.device) as peak:
        try:
            done = _run(trainee, assignment, adapter, data, training, key, coverage)
            update = replace(update, delta=done.delta, gradient_norms=done.gradient_norms, signals=done.signals)
            report = replace(report, loss=done.loss, lora_norm=done.lora_norm)
        except Failed as failed:
            report = replace(report, failure=f"device {assignment.device}: {failed}")
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0] or type(error).__name__
            report = replace(report, failure=f"device {assignment.device} ran out of memory: {reason}")
    return replace(update, report=replace(report, seconds=time.perf_counter() - started, peak_bytes=peak.bytes))


def _run(
    trainee: Trainee,
    assignment: Assignment,
    adapter: Adapter,
    data: Encoded,
    training: TrainingSpec,
    key: tuple[int | str, ...],
    coverage: Coverage,
) -> Outcome:
    if not len(data):
        raise Failed("it has no examples")
    batches = Batches(data, trainee.device)
    with configure(trainee, assignment, adapter, coverage) as learning, arithmetic(trainee), seeded(*key, "dropout"):
        trainee.model.train()
        work = Work(
            trainee=trainee,
            assignment=assignment,
            adapter=adapter,
            learning=learning,
            batches=batches,
            training=training,
            key=key,
        )
        try:
            return _probe(work) if assignment.local.probe_batches else _learn(work)
        finally:
            trainee.model.eval()
            trainee.model.zero_grad(set_to_none=True)


def _learn(work: Work) -> Outcome:
    """Take the assignment's steps."""
    trainee, assignment, learning, local = work.trainee, work.assignment, work.learning, work.assignment.local
    sent = _sent(work)
    optimizer = Optimizer(learning.parameters, sent, assignment.learning_rate, work.training.weight_decay)
    tail_before = tail_size(trainee, assignment) if assignment.least_ranks else 0.0
    active = rng.stream(*work.key, "active")
    norms, seen = torch.zeros(len(learning.layers), device=trainee.device), np.zeros(len(learning.layers))
    history = []
    for batch in work.batches.take(assignment.steps, work.training, *work.key, "order"):
        if 0 < local.active_layers < len(learning.layers):
            learning.only(active.choice(assignment.trained, local.active_layers, replace=False).tolist())
        loss = losses(trainee, batch)[1].mean()
        loss.backward()  # type: ignore[no-untyped-call]
        history.append(loss.detach())
        power = squares(optimizer.parameters)
        norms += _by_layer(power, learning).sqrt()
        seen += [learning.is_learning(layer) for layer in learning.layers]
        if local.proximal or local.tail_penalty:
            if local.proximal:
                add_proximal(optimizer, sent, local.proximal)
            if local.tail_penalty:
                add_tail(trainee, assignment)
            power = squares(optimizer.parameters)
        if work.training.clip:
            clip(optimizer.parameters, power.sum().sqrt(), work.training.clip)
        optimizer.step()
    loss_mean = _mean_loss(history, assignment)
    tail_after = tail_size(trainee, assignment) if assignment.least_ranks else 0.0
    trained = _trained(work, optimizer)
    delta = _delta(work, trained, pruned_ranks(assignment, tail_before, tail_after))
    means = norms.double().cpu().numpy() / np.maximum(seen, 1)
    return Outcome(
        delta=delta,
        gradient_norms={layer: float(mean) for layer, mean in zip(learning.layers, means)},
        signals={},
        loss=loss_mean,
        lora_norm=_lora_norm(trained),
    )


def _probe(work: Work) -> Outcome:
    """Measure each trained layer's squared gradient norm, per batch and averaged; nothing changes."""
    learning, count = work.learning, work.assignment.local.probe_batches
    total = torch.zeros(len(learning.layers), device=work.trainee.device)
    history = []
    for batch in work.batches.take(count, work.training, *work.key, "probe"):
        loss = losses(work.trainee, batch)[1].mean()
        loss.backward()  # type: ignore[no-untyped-call]
        history.append(loss.detach())
        total += _by_layer(squares(learning.parameters), learning)
        work.trainee.model.zero_grad(set_to_none=True)
    answer = np.zeros(work.trainee.layout.shape.layers)
    answer[list(learning.layers)] = total.double().cpu().numpy() / count
    loss_mean = _mean_loss(history, work.assignment)
    return Outcome(gradient_norms={}, signals={"gradient_squares": answer}, loss=loss_mean)


def _by_layer(power: torch.Tensor, learning: Learning) -> torch.Tensor:
    """Sum squared norms (LoRA parameters layer by layer, then the head) over each trained layer."""
    lora = len(power) - len(learning.head)
    return power[:lora].view(len(learning.layers), -1).sum(1) if lora else power.new_zeros(len(learning.layers))


def _mean_loss(history: list[torch.Tensor], assignment: Assignment) -> float:
    """The mean over steps, read once at the end: reading it at every step would make a GPU wait."""
    values = torch.stack(history).tolist() if history else []
    for step, value in enumerate(values, start=1):
        if not np.isfinite(value):
            rate = assignment.learning_rate
            raise Failed(f"the loss is {value} at step {step} of {len(values)} (learning rate {rate:g})")
    return float(np.mean(values)) if values else float("nan")


def _sent(work: Work) -> list[torch.Tensor]:
    """The float32 originals of what learns, in the order of `learning.parameters`."""
    start = {id(parameter): parameter.detach().float().clone() for parameter in work.learning.parameters}
    if work.trainee.dtype != torch.float32:
        for layer in work.learning.layers:
            rank = work.assignment.rank_of(layer)
            for target, pair in work.adapter.layers[layer].items():
                module = work.trainee.lora(layer)[target]
                start[id(module.lora_A[ADAPTER].weight)] = torch.tensor(pair.a[:rank], device=work.trainee.device)
                start[id(module.lora_B[ADAPTER].weight)] = torch.tensor(pair.b[:, :rank], device=work.trainee.device)
        for name, parameter in work.learning.head.items():
            start[id(parameter)] = torch.tensor(work.adapter.head[name], device=work.trainee.device)
    return [start[id(parameter)] for parameter in work.learning.parameters]


def _trained(work: Work, optimizer: Optimizer) -> Adapter:
    """What the trained layers and the head have become, in float32."""
    values = {id(p): m.detach().cpu().numpy() for p, m in zip(optimizer.parameters, optimizer.masters)}
    layers: dict[int, dict[str, Lora]] = {}
    for layer in work.learning.layers:
        rank = work.assignment.rank_of(layer)
        sent = work.adapter.layers[layer]
        for target, module in work.trainee.lora(layer).items():
            a, b = (values.get(id(factor[ADAPTER].weight)) for factor in (module.lora_A, module.lora_B))
            pair = Lora(sent[target].a[:rank] if a is None else a, sent[target].b[:, :rank] if b is None else b)
            layers.setdefault(layer, {})[target] = pair
    trained = Adapter(layers=layers, head={name: values[id(p)] for name, p in work.learning.head.items()})
    if not all(np.isfinite(value).all() for value in values.values()):
        raise Failed(f"its weights are not finite after {work.assignment.steps} steps")
    return trained


def _delta(work: Work, trained: Adapter, ranks: dict[int, int]) -> Adapter:
    layers = {
        layer: {
            target: Lora(
                _difference(pair.a[: ranks[layer]], work.adapter.layers[layer][target].a[: ranks[layer]]),
                _difference(pair.b[:, : ranks[layer]], work.adapter.layers[layer][target].b[:, : ranks[layer]]),
            )
            for target, pair in pairs.items()
        }
        for layer, pairs in trained.layers.items()
    }
    return Adapter(layers=layers, head={n: _difference(v, work.adapter.head[n]) for n, v in trained.head.items()})


def _difference(new: Array32, old: Array32) -> Array32:
    difference = np.ascontiguousarray(new - old)
    difference.flags.writeable = False
    return difference


def _lora_norm(adapter: Adapter) -> float:
    """sqrt of the sum of |B A|_F^2 = tr(B'B AA'), which never forms B A."""
    total = 0.0
    for pairs in adapter.layers.values():
        for pair in pairs.values():
            a, b = pair.a.astype(np.float64), pair.b.astype(np.float64)
            total += float(np.sum((b.T @ b) * (a @ a.T)))
    return math.sqrt(total)


@contextmanager
def arithmetic(trainee: Trainee) -> Iterator[None]:
    """Let matrix products use TF32 inside, where the spec asks for it and the device has it."""
    if trainee.spec.precision != "tf32" or trainee.device.type != "cuda":
        yield
        return
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def _is_out_of_memory(error: BaseException) -> bool:
    """torch has a class for a GPU's; a CPU's is a plain RuntimeError that tells by its text."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
