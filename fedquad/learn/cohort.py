"""Several devices' rounds as one: a stack of their rows, a step of AdamW for all, each with its own order, loss, norms and failure.

    updates = train_together(trainee, orders, training)     # one for each order, as `loop.train` gives them

A stack that does not fit in memory is taken apart, and its devices train one after another.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from fedquad.learn import loop
from fedquad.learn.batches import Batch, Batches
from fedquad.learn.configure import Learning, check
from fedquad.learn.loop import NOTHING, Outcome, arithmetic, in_training, is_out_of_memory
from fedquad.learn.model import Trainee
from fedquad.learn.optimizer import Optimizer
from fedquad.learn.peak import peak_memory
from fedquad.learn.penalties import pruned_ranks
from fedquad.learn.stacked import Stack, stacked
from fedquad.learn.stacked_penalty import Tails
from fedquad.learn.tokens import Encoded
from fedquad.learn.work import Failed, Journal, Work, changes, lora_norm
from fedquad.rounds.adapters import cut
from fedquad.spec import TrainingSpec
from fedquad.types import Adapter, Array32, Assignment, Report, Update


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Order:
    """What one device of a cohort is to do, and with what."""

    assignment: Assignment
    adapter: Adapter
    data: Encoded
    key: tuple[int | str, ...]
    round: int
    based_on: str


def train_together(trainee: Trainee, orders: Sequence[Order], training: TrainingSpec) -> list[Update]:
    """Train all of them in one stack; who has no examples is told so and takes no part."""
    able = sorted((order for order in orders if len(order.data)), key=lambda o: (_start(trainee, o), o.key))
    started = time.perf_counter()
    done: dict[int, Outcome | Failed] = {}
    with peak_memory(trainee.device) as peak:
        if able:
            try:
                done = dict(zip(map(id, able), _learn(trainee, able, training)))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
    if able and not done:
        return [_alone(trainee, order, training) for order in orders]
    seconds = (time.perf_counter() - started) / max(len(able), 1)
    nothing = Failed("it has no examples")
    return [_update(order, done.get(id(order), nothing), seconds, peak.bytes) for order in orders]


def _start(trainee: Trainee, order: Order) -> int:
    return min(order.assignment.trained, default=len(trainee.layers))


def _alone(trainee: Trainee, order: Order, training: TrainingSpec) -> Update:
    return loop.train(
        trainee,
        order.assignment,
        order.adapter,
        order.data,
        training=training,
        key=order.key,
        round=order.round,
        based_on=order.based_on,
    )


def _update(order: Order, came: Outcome | Failed, seconds: float, peak_bytes: int) -> Update:
    device = order.assignment.device
    report = Report(examples=len(order.data), tokens=order.data.answer_tokens, seconds=seconds, peak_bytes=peak_bytes)
    update = Update(device=device, round=order.round, based_on=order.based_on, delta=NOTHING, report=report)
    if isinstance(came, Failed):
        return replace(update, report=replace(report, failure=f"device {device}: {came}"))
    report = replace(report, loss=came.loss, lora_norm=came.lora_norm)
    return replace(update, delta=came.delta, gradient_norms=came.gradient_norms, report=report)


def _learn(trainee: Trainee, orders: Sequence[Order], training: TrainingSpec) -> list[Outcome | Failed]:
    """Take everybody's steps."""
    works = [_work(trainee, order, training) for order in orders]
    steps, rate = orders[0].assignment.steps, orders[0].assignment.learning_rate
    with stacked(works) as stack, arithmetic(trainee), in_training(trainee.model):
        optimizer = Optimizer(stack.parameters, stack.values, rate, training.weight_decay)
        journal, tails = Journals(stack), Tails(stack)
        before = tails.sizes().tolist()
        drawn = [work.batches.draw(steps, training, *work.key, "order") for work in works]
        for each in zip(*drawn):
            batches, sizes = _of_one_shape(works, each)
            losses = [trainee.practice.loss(seen, batch) for seen, batch in stack.forward(batches, sizes)]
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
            powers = journal.note(torch.stack([loss.detach() for loss in losses]))
            if tails.add_penalty():
                powers = stack.powers().sum(0)
            if training.clip:
                stack.scale_gradients((training.clip / (powers.sqrt() + 1e-6)).clamp(max=1.0))
            optimizer.step()
        after = tails.sizes().tolist()
        return [
            _finished(work, journal.of(at), stack.learned(optimizer.masters, at), before[at], after[at])
            for at, work in enumerate(works)
        ]


def _work(trainee: Trainee, order: Order, training: TrainingSpec) -> Work:
    check(trainee, order.assignment, order.adapter)
    learning = Learning(layers=dict.fromkeys(order.assignment.trained, ()), head=trainee.head)
    batches = Batches(order.data, trainee.device)
    return Work(
        trainee=trainee,
        assignment=order.assignment,
        adapter=order.adapter,
        learning=learning,
        batches=batches,
        training=training,
        key=order.key,
    )


def _of_one_shape(
    works: Sequence[Work], drawn: Sequence[tuple[np.ndarray, int]]
) -> tuple[list[Batch], list[tuple[int, int]]]:
    """Everybody's batch at the greatest width, those with fewer rows filled up with their last one; and what each was."""
    sizes = [(len(rows), width) for rows, width in drawn]
    most, width = max(rows for rows, _ in sizes), max(width for _, width in sizes)
    full = [np.pad(rows, (0, most - len(rows)), mode="edge") for rows, _ in drawn]
    return [work.batches.at(rows, width) for work, rows in zip(works, full)], sizes


def _finished(
    work: Work, journal: Journal, learned: Sequence[Array32], tail_before: float, tail_after: float
) -> Outcome | Failed:
    try:
        loss, changed = journal.mean_loss(), changes(work, learned)
    except Failed as failed:
        return failed
    norms = dict(zip(work.learning.layers, journal.mean_norms().tolist()))
    ranks = pruned_ranks(work.assignment, tail_before, tail_after)
    return Outcome(
        delta=cut(changed, ranks, ranks.values()),
        gradient_norms=norms,
        loss=loss,
        lora_norm=lora_norm(work, changed),
    )


class Journals:
    """Losses and gradient norms of all devices, step by step."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.losses: list[torch.Tensor] = []
        self.norms = torch.zeros(len(stack.layers), len(stack.works), device=stack.trainee.device)

    def note(self, losses: torch.Tensor) -> torch.Tensor:
        """Enter a step whose gradients are there; return each device's squared norm of all of them."""
        powers = self.stack.powers()
        self.losses.append(losses)
        self.norms = self.norms + powers[:-1].sqrt()
        return powers.sum(0)

    def of(self, device: int) -> Journal:
        """One device's."""
        journal = Journal(self.stack.works[device])
        journal.losses = [losses[device] for losses in self.losses]
        rows = [self.stack.layers.index(layer) for layer in journal.learning.layers]
        journal.norms = self.norms[rows, device]
        return journal
