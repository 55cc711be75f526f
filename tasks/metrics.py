"""What MLflow calls a round's figures: by groups, so that its charts come sorted, the score on the fleet's time first.

Counters that hardly ever move (attempts, devices asked) have no curve; they are in the round's assignments.
"""

from collections.abc import Iterable, Mapping
from typing import Any

NAMES = {
    "spread": "quality/spread",
    "prefix_drift": "quality/prefix_drift",
    "loss": "quality/loss",
    "train_loss": "quality/train_loss",
    "validation_loss": "quality/validation_loss",
    "round_seconds": "time/round_seconds",
    "elapsed_seconds": "time/elapsed_seconds",
    "mean_wait_seconds": "time/waiting_seconds",
    "mean_seconds": "time/completion_seconds",
    "mean_depth": "depth/mean",
    "mean_quantized": "depth/quantized",
    "memory_violations": "memory/violations",
    "failures": "fleet/failures",
    "upload_bytes": "traffic/upload_bytes",
    "download_bytes": "traffic/download_bytes",
    "energy_joules": "energy/joules",
    "wall_train_seconds": "wall/train_seconds",
    "wall_evaluate_seconds": "wall/evaluate_seconds",
    "wall_round_seconds": "wall/round_seconds",
}


def by_second(metric: str) -> str:
    """The curve whose step is the fleet's second."""
    return f"{metric}/by_fleet_second"


def best(metric: str) -> str:
    return f"quality/best_{metric}"


def figures(facts: Mapping[str, Any], metrics: Iterable[str]) -> dict[str, float]:
    """A round's curves; what has no number this round, a loss that was not finite say, has no point."""
    quality = {key: f"quality/{key}" for name in metrics for key in (name, f"validation_{name}")}
    known = {name: facts.get(key) for key, name in (quality | NAMES).items()}
    peaks = [row["peak_bytes"] / row["memory_bytes"] for row in facts["assignments"] if row["memory_bytes"]]
    known["memory/greatest_share"] = max(peaks, default=None)
    return {name: float(value) for name, value in known.items() if value is not None}
