"""Does merging hold one update at a time? Peak memory of the server's merge, from a hundred updates to ten thousand.

    python -m benchmarks.merge_memory            # about 5 minutes; writes merge_memory.csv
    python -m benchmarks.merge_memory --json     # prints [{"method": ..., "updates": ..., "peak_megabytes": ...}]

Adapters of twelve layers, hidden 256, rank 8 at most 16. Answers are read from disk as the server reads its spool:
through the gate. `mean` is FedLoRA's merge, `zero-padded` HetLoRA's, `by size` InclusiveFL's, which keeps a
sum a size. Each row is a process of its own; its peak is what the merge added to the process that was about to begin
it.
"""

import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import arguments, record
from fedquad import discover, rng, wire
from fedquad.prices.cost import cost_model
from fedquad.prices.shapes import SHAPES
from fedquad.rounds import adapters
from fedquad.rounds import round as rounds
from fedquad.rounds.admit import Asked
from fedquad.rounds.strategy import Answers, World
from fedquad.spec import CostSpec, ModelSpec, TrainingSpec
from fedquad.store import files
from fedquad.store.gate import let_in
from fedquad.types import Adapter, Assignment, ModelLayout, Report, Update

SIZES = (100, 1_000, 10_000)
METHODS = {"fedlora": "mean", "hetlora": "zero-padded", "inclusivefl": "by size"}
LAYERS, HIDDEN = 12, 256
DISTINCT = 12  # answers written once, read again and again


def measure(method: str, updates: int) -> dict[str, Any]:
    """Merge so many answers from disk."""
    strategy, shape = discover.strategy(method), replace(SHAPES["roberta-base"], hidden=HIDDEN, heads=4)
    cost = cost_model(shape, ModelSpec(), TrainingSpec(), CostSpec(), labels=3)
    world = World(layers=LAYERS, rank=8, cost=cost, training=TrainingSpec(), examples=np.full(updates, 32), rounds=1)
    layout = ModelLayout(
        shape=shape,
        digest="",
        layer_path="roberta.encoder.layer",
        targets={"attention.self.query": (HIDDEN, HIDDEN), "attention.self.value": (HIDDEN, HIDDEN)},
        head={"classifier.dense.weight": (HIDDEN, HIDDEN), "classifier.out_proj.weight": (3, HIDDEN)},
        head_modules=("classifier",),
        head_std=0.02,
        labels=3,
    )
    state = rounds.begin(strategy, adapters.initial(layout, 16, seed=0), world)
    with tempfile.TemporaryDirectory() as folder:
        for device in range(DISTINCT):
            spool(Path(folder), assigned(method, device), strategy.send(state, assigned(method, device), world))
        before, began = peak_megabytes(), time.perf_counter()
        strategy.merge(state, read(Path(folder), method, updates, state.adapter), world)
    seconds = time.perf_counter() - began
    return {
        "method": method,
        "merge": METHODS[method],
        "updates": updates,
        "update_megabytes": round(sum(a.nbytes for a in adapters.flatten(state.adapter).values()) / 1e6, 2),
        "peak_megabytes": round(peak_megabytes() - before, 1),
        "milliseconds_an_update": round(1e3 * seconds / updates, 2),
    }


def assigned(method: str, device: int) -> Assignment:
    """Devices of three depths, sizes and ranks, in turn."""
    third = device % 3
    depth = (4, 8, 12)[third]
    whole = method != "inclusivefl"
    present = tuple(range(LAYERS if whole else depth))
    rank = (4, 8, 16)[third] if method == "hetlora" else 8
    trained = tuple(range(LAYERS - depth, LAYERS)) if whole else present
    return Assignment(
        device=device, present=present, trained=trained, ranks=(rank,) * len(present), steps=4, learning_rate=1e-3
    )


def spool(folder: Path, assignment: Assignment, sent: Adapter) -> None:
    """Write one device's answer, as tasks/dispatch.py has it written."""
    draw = rng.stream(0, assignment.device)
    noise = {name: draw.normal(size=a.shape).astype(np.float32) for name, a in adapters.flatten(sent).items()}
    drawn = adapters.unflatten(noise)
    delta = Adapter(layers={layer: drawn.layers[layer] for layer in assignment.trained}, head=drawn.head)
    report = Report(examples=32, seconds=1.0, loss=1.0, lora_norm=1.0)
    document, tensors = wire.answer(Update(device=assignment.device, round=1, based_on="", delta=delta, report=report))
    files.write_tensors(folder / f"{assignment.device}.safetensors", tensors)
    files.write_json(folder / f"{assignment.device}.json", document)


def read(folder: Path, method: str, updates: int, like: Adapter) -> Answers:
    def answers() -> Iterator[tuple[Assignment, Update]]:
        for device in range(updates):
            kept = device % DISTINCT
            asked = Asked(assignment=assigned(method, kept), round=1, sent="", like=like)
            update = let_in(folder / str(kept), asked)
            assert not update.report.failure, update.report.failure
            yield replace(asked.assignment, device=device), replace(update, device=device)

    return answers()


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def rows() -> list[dict[str, Any]]:
    found = []
    for method in METHODS:
        for size in SIZES:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
                found.append(own.submit(measure, method, size).result())
    return found


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    record("merge_memory", rows(), as_json=as_json)


if __name__ == "__main__":
    main()
