"""What ACS does to round time and waiting: FedLoRA and the three rules, without training.

    python -m benchmarks.acs_rounds            # writes acs_rounds.csv; seconds on one core
    python -m benchmarks.acs_rounds --json     # prints the same rows

100 devices 3:3:4, 24 layers (RoBERTa-large b32 s128, one epoch of MNLI: 123 steps), 50 rounds, 5 seeds, g_l = e^(0.08
l), at speed spreads 3x, 6x and 20x; then the boards' own modes and Table I's clocks, on MNLI and QQP.
"""

import statistics
from typing import Any

import numpy as np

from benchmarks.rows import arguments, record
from fedquad import discover
from fedquad.fleets import fleet
from fedquad.planning.forecast import Round, forecast
from fedquad.prices.cost import cost_model
from fedquad.prices.shapes import SHAPES
from fedquad.rounds.acs import Settings
from fedquad.spec import CostSpec, FleetSpec, ModelSpec, TrainingSpec

RULES = {
    "fedlora": None,
    "literal": Settings(rule="literal"),
    "default": Settings(),
    "deadline": Settings(rule="deadline"),
}
BOARDS = {"jetson-agx-xavier": 30, "jetson-xavier-nx": 30, "jetson-tx2": 40}
TABLE_I = {
    "jetson-agx-xavier": ("MODE_30W_6CORE",),
    "jetson-xavier-nx": ("MODE_10W_4CORE",),
    "jetson-tx2": ("MAXQ",),
}
STEPS = {"mnli": 123, "qqp": 114}  # an epoch of a hundredth at batch 32
FLEETS: dict[str, dict[str, Any]] = {
    "3x": {"spread": "3x"},
    "6x": {"spread": "6x"},
    "20x": {"spread": "20x"},
    "boards": {},
    "table-1": {"modes": TABLE_I},
}
CASES = [
    ("3x", "mnli"),
    ("6x", "mnli"),
    ("20x", "mnli"),
    ("boards", "mnli"),
    ("boards", "qqp"),
    ("table-1", "mnli"),
    ("table-1", "qqp"),
]
LAYERS, ROUNDS, SEEDS = 24, 50, range(5)


def measure(name: str, task: str) -> list[dict[str, Any]]:
    """One row for each rule on one fleet: means over rounds and seeds."""
    devices = fleet.resolve(FleetSpec(boards=BOARDS, **FLEETS[name]), discover.boards())
    cost = cost_model(SHAPES["roberta-large"], ModelSpec(), TrainingSpec(batch=32), CostSpec(sequence=128), labels=3)
    norms = np.exp(0.08 * np.arange(LAYERS))
    found = []
    for label, rule in RULES.items():
        played: list[Round] = []
        for seed in SEEDS:
            played += forecast(devices, cost, rule, seed=seed, rounds=ROUNDS, steps=STEPS[task], gradient_norms=norms)
        keys = ("round_seconds", "mean_wait_seconds", "mean_depth", "mean_quantized", "bottom_devices", "fallbacks")
        means = {key: round(statistics.fmean(getattr(one, key) for one in played), 3) for key in keys}
        found.append({"fleet": name, "task": task, "rule": label, **means})
    for row in found:
        for key in ("round_seconds", "mean_wait_seconds"):
            row[f"{key}_saved"] = round(1 - row[key] / found[0][key], 4)
    return found


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    record("acs_rounds", [row for name, task in CASES for row in measure(name, task)], as_json=as_json)


if __name__ == "__main__":
    main()
