"""What the paper measured of costs, Figures 1 to 4, beside what the cost model says in the same settings; no training.

    python -m benchmarks.paper_costs            # writes paper_costs.csv; seconds on one core
    python -m benchmarks.paper_costs --json     # prints the rows

Bytes are counted (fedquad/prices/memory.py), eager attention, fp32, LoRA dropout 0.1; the paper's MB and GB read as MiB and GiB. Seconds are FLOPs
over the A6000's sustained rate, which the paper's own 699 ms a batch is taken from, so that ratios say something and milliseconds little.
"""

from typing import Any

import numpy as np

from benchmarks.rows import arguments, record
from fedquad import discover
from fedquad.fleets import fleet
from fedquad.prices import cost as prices
from fedquad.prices.cost import CostModel
from fedquad.prices.shapes import SHAPES
from fedquad.spec import CostSpec, FleetSpec, ModelSpec, TrainingSpec
from fedquad.types import Assignment, Status

MIB, GIB, LABELS, MNLI_STEPS = 2**20, 2**30, 3, 123


def cost_of(shape: str, batch: int, sequence: int, bandwidth: str = "none") -> CostModel:
    model = ModelSpec(attention="eager", coverage="paper")
    return prices.cost_model(
        SHAPES[shape], model, TrainingSpec(batch=batch, padding="max"), CostSpec(sequence=sequence, batch=batch), LABELS
    )


def device(cost: CostModel, board: str, bandwidth: str = "none") -> Status:
    spec = FleetSpec(boards={board: 1}, memory="board", bandwidth=bandwidth)  # type: ignore[arg-type]
    return fleet.draw(fleet.resolve(spec, discover.boards()), cost, 0, 1)[0]


def tuned(cost: CostModel, depth: int, below: int = 0, quantized: int = 0, steps: int = 1) -> Assignment:
    lowest = cost.layers - below - depth
    return Assignment(
        device=0, present=tuple(range(cost.layers)), trained=tuple(range(lowest, lowest + depth)),
        quantized=tuple(range(lowest, lowest + quantized)), ranks=(8,) * cost.layers, steps=steps, learning_rate=1e-3,
    )  # fmt: skip


def communication() -> list[dict[str, Any]]:
    """Figure 1a: share of a round that goes into sending, LoRA on all layers, mean over the three Jetsons."""
    rows = []
    for network, theirs in (("3g", 0.5), ("4g", 0.1)):
        cost, shares = cost_of("roberta-large", 32, 128), []
        for board in ("jetson-agx-xavier", "jetson-xavier-nx", "jetson-tx2"):
            found = prices.estimate(tuned(cost, 24, steps=MNLI_STEPS), cost, device(cost, board, network))
            shares.append(found.communication_seconds / found.seconds)
        rows.append(row("1a", f"LoRA, {network}: sending, % of a round", 100 * float(np.mean(shares)), theirs))
    return rows


def breakdown() -> list[dict[str, Any]]:
    """Figure 1b: RoBERTa-large, sequence 256."""
    rows = []
    for batch, share, total, activations in ((16, 85.1, None, None), (32, 91.5, 17.4, 15.9)):
        cost = cost_of("roberta-large", batch, 256)
        peak = prices.peak_bytes(tuned(cost, 24), cost)
        weights = peak - held(cost, 24)
        rows.append(row("1b", f"batch {batch}: activations, % of memory", 100 * held(cost, 24) / (held(cost, 24) + weights), share))  # fmt: skip
        if total and activations:
            rows += [
                row("1b", "batch 32: activations, GiB", held(cost, 24) / GIB, activations),
                row("1b", "batch 32: all, GiB", peak / GIB, total),
            ]
    return rows


def held(cost: CostModel, depth: int) -> int:
    """Bytes of activations of so many tuned layers."""
    return depth * int(cost.constants.m_o)


def positions() -> list[dict[str, Any]]:
    """Figure 2a: which four of twelve layers, against all."""
    cost = cost_of("roberta-base", 32, 128)
    there = device(cost, "rtx-a6000")
    blocks = {"A": tuned(cost, 12), "S": tuned(cost, 4, 8), "M": tuned(cost, 4, 4), "D": tuned(cost, 4)}
    peak = {name: prices.peak_bytes(one, cost) for name, one in blocks.items()}
    step = {name: prices.step_seconds(one, cost, there) for name, one in blocks.items()}
    found = [row("2a", f"Layers-{name}: memory, % of Layers-A", 100 * peak[name] / peak["A"], theirs) for name, theirs in (("S", 93.0), ("M", 69.9), ("D", 46.5))]  # fmt: skip
    return found + [
        row("2a", f"Layers-S's step over Layers-{name}'s", step["S"] / step[name], theirs)
        for name, theirs in (("M", 1.37), ("D", 1.87))
    ]


def depths() -> list[dict[str, Any]]:
    """Figure 3b: one more layer."""
    cost = cost_of("roberta-base", 32, 128)
    there = device(cost, "rtx-a6000")
    more = prices.step_seconds(tuned(cost, 12), cost, there) - prices.step_seconds(tuned(cost, 1), cost, there)
    return [
        row("3b", "a layer more: MiB", cost.constants.m_o / MIB, 199),
        row("3b", "a layer more: ms", 1000 * more / 11, 5),
    ]


def quantization() -> list[dict[str, Any]]:
    """Figure 4: INT8 on all layers, and pairs (d, a)."""
    cost = cost_of("roberta-base", 32, 128)
    there = device(cost, "rtx-a6000")
    step = {pair: prices.step_seconds(tuned(cost, pair[0], quantized=pair[1]), cost, there) for pair in ((12, 0), (12, 11), (5, 0), (8, 5), (10, 9))}  # fmt: skip
    full = cost.constants.c_f + 12 * cost.constants.c_d
    return [
        row("4a", "a quantized layer spares, % of its activations", 100 * cost.constants.m_q / cost.constants.m_o, 58),
        row("4a", "all twelve quantized: step, % more", 100 * 12 * cost.constants.c_a / full, 36),
        row("4b", "(10, 9)'s step over (8, 5)'s", step[10, 9] / step[8, 5], 74.4 / 43.7),
        row("4b", "(8, 5): ms", 1000 * step[8, 5], 43.7),
        row("4b", "(10, 9): ms", 1000 * step[10, 9], 74.4),
    ]


def row(figure: str, what: str, ours: float, theirs: float) -> dict[str, Any]:
    return {
        "figure": figure,
        "what": what,
        "paper": round(theirs, 3),
        "ours": round(ours, 3),
        "difference": round(ours / theirs - 1, 4),
    }


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    record("paper_costs", communication() + breakdown() + positions() + depths() + quantization(), as_json=as_json)


if __name__ == "__main__":
    main()
