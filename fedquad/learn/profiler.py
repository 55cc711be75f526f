"""Measure this machine: how long a training step takes and what it allocates, over LoRA depths and quantized layers.

Configurations are visited in turns, in another order each time. Beside every step a forward pass of the same model is
timed: a busy or throttled machine slows both alike, so that a step counts as its share of the fastest forward pass
(without that, the same step took 29 to 46 ms from one second to the next while other processes ran). Memory is what
the allocator hands out during a step above the resident model: on CUDA its own peak, on the CPU the running sum of
what torch's profiler saw allocated and freed, to the byte.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from fedquad import rng
from fedquad.learn.configure import configure
from fedquad.learn.loop import arithmetic
from fedquad.learn.model import Trainee
from fedquad.learn.optimizer import Optimizer
from fedquad.learn.seeding import seeded
from fedquad.prices.fit import Sample
from fedquad.rounds import adapters
from fedquad.types import Adapter, Assignment

STEPS = 2  # timed on each visit, after one that is not
VISITS = (2, 12)  # at least, at most
# Of 12 layers: Figure 2's blocks, and pairs (d, a) that the fit does not see.
BLOCK = 4
HELD_OUT = ((3, 1), (6, 2), (7, 4), (9, 5), (10, 9), (11, 3), (11, 8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One configuration to measure."""

    depth: int
    quantized: int = 0
    trained: tuple[int, ...] = ()
    batch: int = 0
    held_out: bool = False


def cases(layers: int, half: int) -> tuple[Case, ...]:
    """What is measured: Figures 3 and 4's lines, Figure 2's blocks, `half` a batch for Figure 1, pairs held out."""
    depths = sorted({max(1, _of(layers, part)) for part in range(1, 13)})
    pairs = [(depth, 0) for depth in depths]
    pairs += [(layers, _of(layers, part)) for part in (2, 4, 6, 8, 10)] + [(layers, layers - 1)]
    pairs += [(depth, a) for depth in depths[1:-1:3] for a in (depth // 2, depth - 1)]
    lines = list(dict.fromkeys(pair for pair in pairs if pair[1] < pair[0]))
    held = [(_of(layers, depth), _of(layers, a)) for depth, a in HELD_OUT]
    held = [pair for pair in dict.fromkeys(held) if 0 < pair[1] < pair[0] and pair not in lines]
    block = max(1, _of(layers, BLOCK))
    starts = sorted({0, (layers - block) // 2})
    return (
        *(Case(depth=depth, quantized=a) for depth, a in lines),
        *(Case(depth=depth, quantized=a, held_out=True) for depth, a in held),
        *(Case(depth=0, trained=tuple(range(start, start + block))) for start in starts),
        Case(depth=layers, batch=half),
    )


def _of(layers: int, twelfths: int) -> int:
    return round(layers * twelfths / 12)


class Bench:
    """A loaded model with one batch of random tokens."""

    def __init__(self, trainee: Trainee, batch: int, sequence: int) -> None:
        shape, device = trainee.layout.shape, trainee.device
        self.trainee, self.layers = trainee, shape.layers
        draw = rng.stream("profile", batch, sequence)
        self.ids = torch.tensor(draw.integers(5, shape.vocabulary, (batch, sequence)), device=device)
        self.labels = torch.tensor(draw.integers(0, trainee.layout.labels, batch), device=device)
        self.adapter: Adapter = adapters.initial(trainee.layout, trainee.greatest_rank, 0)

    def resident_bytes(self) -> int:
        """Bytes of the model's parameters and buffers."""
        tensors = [*self.trainee.model.parameters(), *self.trainee.model.buffers()]
        return sum(tensor.nbytes for tensor in tensors)

    def seconds(self, case: Case) -> list[tuple[float, float]]:
        """Seconds of a few steps, each with the pace of the machine around it: seconds of a forward pass."""
        with self._ready(case) as step:
            step()
            paces, steps = [self._timed(self._forward)], []
            for _ in range(STEPS):
                steps.append(self._timed(step))
                paces.append(self._timed(self._forward))
            return [(one, (before + after) / 2) for one, before, after in zip(steps, paces, paces[1:])]

    def _forward(self) -> None:
        with torch.no_grad():
            self.trainee.model(input_ids=self.ids, attention_mask=torch.ones_like(self.ids))

    def peak_bytes(self, case: Case) -> int:
        """Bytes that a step adds to the resident model at its peak."""
        with self._ready(case) as step:
            step()
            return cuda_peak(step) if self.ids.is_cuda else cpu_peak(step)

    @contextmanager
    def _ready(self, case: Case) -> Iterator[Callable[[], None]]:
        rate, model = 1e-3, self.trainee.model
        with (
            configure(self.trainee, self._assignment(case), self.adapter) as learning,
            arithmetic(self.trainee),
            seeded("profile", "dropout"),
        ):
            model.train()
            optimizer = Optimizer(learning.parameters, [p.detach().float() for p in learning.parameters], rate, 0.0)
            rows = case.batch or len(self.ids)
            ids, labels = self.ids[:rows], self.labels[:rows]
            mask = torch.ones_like(ids)

            def step() -> None:
                logits = model(input_ids=ids, attention_mask=mask).logits
                loss = torch.nn.functional.cross_entropy(logits.float(), labels)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

            yield step
            model.eval()

    def _assignment(self, case: Case) -> Assignment:
        trained = case.trained or tuple(range(self.layers - case.depth, self.layers))
        return Assignment(
            device=0,
            present=tuple(range(self.layers)),
            trained=trained,
            quantized=trained[: case.quantized],
            ranks=(self.trainee.greatest_rank,) * self.layers,
            steps=1,
            learning_rate=1e-3,
        )

    def _timed(self, step: Callable[[], None]) -> float:
        # One thread's CPU seconds are its wall-clock seconds on an idle machine, and do not grow on a busy one.
        clock = time.perf_counter if self.ids.is_cuda or torch.get_num_threads() > 1 else time.process_time
        self._wait()
        start = clock()
        step()
        self._wait()
        return clock() - start

    def _wait(self) -> None:
        if self.ids.is_cuda:
            torch.cuda.synchronize()


def measure(
    bench: Bench, budget_seconds: float, chosen: Sequence[Case], tell: Callable[[str, float], None]
) -> list[Sample]:
    """Measure the cases within about the budget; `tell` hears what is done and its share."""
    start = time.perf_counter()
    peaks = []
    for number, case in enumerate(chosen):
        tell("memory", 0.3 * number / len(chosen))
        peaks.append(bench.peak_bytes(case))
    found: list[list[tuple[float, float]]] = [[] for _ in chosen]
    least, most = VISITS
    for visit in range(most):
        began = time.perf_counter() - start
        # In another order each time: a busy half minute then slows down all cases alike, and not neighbours.
        for number in rng.stream("profile", visit).permutation(len(chosen)):
            used = time.perf_counter() - start
            tell("time", 0.3 + 0.7 * max(visit / most, used / max(budget_seconds, used, 1e-9)))
            found[number] += bench.seconds(chosen[number])
        ended = time.perf_counter() - start
        if visit + 1 >= least and 2 * ended - began > budget_seconds:
            break
    fastest = min(pace for steps in found for _, pace in steps)
    times = [statistics.median(seconds * fastest / pace for seconds, pace in steps) for steps in found]
    return [_sample(case, seconds, peak) for case, seconds, peak in zip(chosen, times, peaks)]


def _sample(case: Case, seconds: float, peak: int) -> Sample:
    return Sample(
        depth=case.depth,
        quantized=case.quantized,
        trained=case.trained,
        batch=case.batch,
        held_out=case.held_out,
        seconds=seconds,
        peak_bytes=peak,
    )


def cuda_peak(step: Callable[[], None]) -> int:
    """Bytes that CUDA's allocator handed out at most during a step, above what was there before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def cpu_peak(step: Callable[[], None]) -> int:
    """The same on the CPU, whose allocator keeps no peak: summed over what torch's profiler saw."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with _quiet(), torch.profiler.profile(activities=activities, profile_memory=True) as seen:
        step()
    events: Any = seen.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    now = peak = 0
    for _, change in changes:
        now += change
        peak = max(peak, now)
    return peak


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep kineto's two lines a session, which no log level stops, off stderr."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
