"""A device's round: the assignment, some steps of AdamW on the device's own examples, and what came of it.

    update = train(trainee, assignment, adapter, shard, training=spec.training, key=(seed, attempt, round, device),
                   round=3, based_on=digest(adapter))
    update.report.failure    # "" or why there is no update: no examples, a loss that is not a number, no memory

Randomness is the key's alone (the order of examples, dropout); on one CPU thread the same
call gives the same bits.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from fedquad.learn.batches import Batch, Batches
from fedquad.learn.configure import configure
from fedquad.learn.model import Trainee
from fedquad.learn.optimizer import Optimizer, clip, squares
from fedquad.learn.peak import peak_memory
from fedquad.learn.penalties import add_penalty, pruned_ranks, tail_size
from fedquad.learn.prefix import Prefixes
from fedquad.learn.seeding import seeded
from fedquad.learn.tokens import Encoded
from fedquad.learn.work import Failed, Journal, Work, changes, lora_norm, sent_values
from fedquad.rounds.adapters import cut
from fedquad.spec import TrainingSpec
from fedquad.types import Adapter, Assignment, Floats, Report, Update

NOTHING = Adapter(layers={}, head={})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What the work came to; the frame around it adds whose it was and what it took."""

    delta: Adapter = NOTHING
    gradient_norms: Mapping[int, float] = field(default_factory=dict)
    signals: Mapping[str, Floats] = field(default_factory=dict)
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
    prefixes: Prefixes | None = None,
    beat: Callable[[int], None] = lambda step: None,
) -> Update:
    """Train the assignment's layers and the head from `adapter`, or answer its probe; a failure is a value.

    An assignment with a prefix finds and leaves in `prefixes` what that makes of its examples. `beat` is told of every step
    before it is taken, and may raise `Failed`.
    """
    started = time.perf_counter()
    update = Update(device=assignment.device, round=round, based_on=based_on, delta=NOTHING)
    report = Report(examples=len(data), tokens=data.answer_tokens)
    prefixes = prefixes or Prefixes(0)
    hits, misses = prefixes.hits, prefixes.misses
    with peak_memory(trainee.device) as peak:
        try:
            if not len(data):
                raise Failed("it has no examples")
            with (
                configure(trainee, assignment, adapter) as learning,
                arithmetic(trainee),
                _batches(trainee, assignment, adapter, data, prefixes) as batches,
                seeded(*key, "dropout"),
            ):
                work = Work(
                    trainee=trainee,
                    assignment=assignment,
                    adapter=adapter,
                    learning=learning,
                    batches=batches,
                    training=training,
                    key=key,
                )
                with in_training(trainee.model):
                    done = _probe(work, beat) if assignment.local.probe_batches else _learn(work, beat)
            update = replace(update, delta=done.delta, gradient_norms=done.gradient_norms, signals=done.signals)
            report = replace(report, loss=done.loss, lora_norm=done.lora_norm)
        except Failed as failed:
            report = replace(report, failure=f"device {assignment.device}: {failed}")
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0] or type(error).__name__
            report = replace(report, failure=f"device {assignment.device} ran out of memory: {reason}")
    report = replace(report, hits=prefixes.hits - hits, misses=prefixes.misses - misses)
    return replace(update, report=replace(report, seconds=time.perf_counter() - started, peak_bytes=peak.bytes))


def _batches(
    trainee: Trainee, assignment: Assignment, adapter: Adapter, data: Encoded, prefixes: Prefixes
) -> AbstractContextManager[Batches]:
    if not assignment.prefix:
        return nullcontext(Batches(data, trainee.device))
    below, ranks = assignment.present[: assignment.prefix], assignment.ranks[: assignment.prefix]
    sent = cut(Adapter(layers=adapter.layers, head={}), below, ranks)
    return prefixes.entered(trainee, assignment.present, assignment.prefix, sent, data)


def _learn(work: Work, beat: Callable[[int], None]) -> Outcome:
    """Take the assignment's steps."""
    assignment, learning, training = work.assignment, work.learning, work.training
    optimizer = Optimizer(learning.parameters, sent_values(work), assignment.learning_rate, training.weight_decay)
    tail_before = tail_size(work.trainee, assignment)
    journal = Journal(work)
    for step, batch in enumerate(work.batches.take(assignment.steps, training, *work.key, "order"), start=1):
        beat(step)
        power = journal.note(_backward(work.trainee, batch))
        if add_penalty(work.trainee, assignment):
            power = squares(optimizer.parameters)
        if training.clip:
            clip(optimizer.parameters, power.sum().sqrt(), training.clip)
        optimizer.step()
    loss = journal.mean_loss()
    ranks = pruned_ranks(assignment, tail_before, tail_size(work.trainee, assignment))
    changed = changes(work, optimizer.values())
    return Outcome(
        delta=cut(changed, ranks, ranks.values()),
        gradient_norms=dict(zip(learning.layers, journal.mean_norms().tolist())),
        loss=loss,
        lora_norm=lora_norm(work, changed),
    )


def _probe(work: Work, beat: Callable[[int], None]) -> Outcome:
    """Measure each trained layer's squared gradient norm, per batch and averaged; nothing changes."""
    journal = Journal(work)
    taken = work.batches.take(work.assignment.local.probe_batches, work.training, *work.key, "probe")
    for step, batch in enumerate(taken, start=1):
        beat(step)
        journal.note(_backward(work.trainee, batch))
        work.trainee.model.zero_grad(set_to_none=True)
    answer = np.zeros(work.trainee.layout.shape.layers)
    answer[list(work.learning.layers)] = journal.mean_squares()
    return Outcome(signals={"gradient_squares": answer}, loss=journal.mean_loss())


def _backward(trainee: Trainee, batch: Batch) -> torch.Tensor:
    loss = trainee.practice.loss(trainee.model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


@contextmanager
def in_training(model: torch.nn.Module) -> Iterator[None]:
    """The model in training mode; afterwards it is as it was, without a gradient."""
    model.train()
    try:
        yield
    finally:
        model.eval()
        model.zero_grad(set_to_none=True)


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


def is_out_of_memory(error: BaseException) -> bool:
    """torch has a class for a GPU's; a CPU's is a plain RuntimeError that tells by its text."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
