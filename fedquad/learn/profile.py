"""A machine's profile for a model: measured constants beside the analytic ones, as the document the planner reads."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from fedquad.errors import DeviceError, SpecError
from fedquad.learn.model import Trainee, load
from fedquad.learn.profiler import Bench, cases, measure
from fedquad.prices.cost import cost_model
from fedquad.prices.fit import profile_facts
from fedquad.spec import CostSpec, ModelSpec, TrainingSpec

SCHEMA = 1
LABELS = 3


def profile(
    model: ModelSpec,
    training: TrainingSpec,
    device: str | None,
    budget_seconds: float,
    tell: Callable[[str, float], None],
) -> dict[str, Any]:
    """Load the model, measure it for about the budget, and fit; `tell` hears what is being done and its share."""
    wanted = _device(device)
    torch.set_num_threads(training.threads)
    tell("loading the model", 0.0)
    trainee = load(model, LABELS, model.rank)
    trainee.model.to(wanted)
    _check(trainee, model)
    bench = Bench(trainee, training.batch, model.max_length)
    layers = trainee.layout.shape.layers
    samples = measure(bench, budget_seconds, cases(layers, max(1, training.batch // 2)), tell)
    priced = cost_model(trainee.layout.shape, model, training, CostSpec(), LABELS)
    return {
        "schema": SCHEMA,
        "model": model.name,
        "device": wanted,
        "machine": torch.cuda.get_device_name() if wanted == "cuda" else f"{training.threads} CPU threads",
        "torch": str(torch.__version__),
        "layers": layers,
        "batch": training.batch,
        "sequence": model.max_length,
        "rank": model.rank,
        "precision": model.precision,
        "attention": model.attention,
        "coverage": model.coverage,
        "resident_bytes": bench.resident_bytes(),
        **profile_facts(samples, layers, bench.resident_bytes()),
        "analytic": asdict(priced.constants),
        "samples": [asdict(one) for one in samples],
    }


def _device(device: str | None) -> str:
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise SpecError(f"--device is {device!r}, but it is cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--device is 'cuda', but torch finds no CUDA device on this machine; use cpu")
    return device


def _check(trainee: Trainee, model: ModelSpec) -> None:
    shape = trainee.layout.shape
    # RoBERTa's positions begin after its padding index: two fewer than its table has.
    most = shape.positions - (2 if shape.architecture == "roberta" else 0)
    if model.max_length > most and not shape.position_buckets:
        raise SpecError(f"--seq is {model.max_length}, but {model.name!r} knows {most} positions")
