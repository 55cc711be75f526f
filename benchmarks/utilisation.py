"""What share of a GPU's arithmetic does a device's training use? Model FLOPs a second beside the best matrix product of the same run.

    python -m benchmarks.utilisation           # a few minutes on one GPU; writes utilisation.csv
    python -m benchmarks.utilisation --tiny    # the same code at a tiny size, wherever it is; prints

RoBERTa-large's shape with random weights, batch 32, 128 tokens, LoRA of rank 8 on query and value, all layers trained: the product's own
round (`fedquad.learn.loop.train`) with its batches, clipping, AdamW and gradient norms, from the adapter that was sent to the delta.
FLOPs are those of the products that torch counts in a plain step, so that what INT8 activations compute besides is not taken for use.
The peak is the best of square products in the model's precision. Seconds a step are of the median round, first rounds left out.
"""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cohorts import encoder
from benchmarks.rows import arguments, record
from fedquad.learn.loop import arithmetic, train
from fedquad.learn.model import Trainee, compute_dtype, load
from fedquad.learn.tokens import Encoded
from fedquad.rounds import adapters
from fedquad.spec import ModelSpec, TrainingSpec
from fedquad.types import Assignment, Report

LARGE: dict[str, int] = {"width": 1024, "layers": 24, "tokens": 128, "batch": 32, "steps": 20, "product": 8192}
TINY: dict[str, int] = {"width": 64, "layers": 2, "tokens": 16, "batch": 4, "steps": 2, "product": 256}
CASES = (("bf16", 0), ("bf16", 12), ("tf32", 0))  # precision, layers in INT8
ROUNDS = 5


def wait(trainee: Trainee) -> None:
    if trainee.device.type == "cuda":
        torch.cuda.synchronize()


def peak_flops(trainee: Trainee, size: int) -> float:
    """FLOP/s of the best of ten products."""
    a, b = (torch.randn(size, size, device=trainee.device, dtype=compute_dtype(trainee.spec)) for _ in range(2))
    best = 0.0
    with arithmetic(trainee):
        for _ in range(10):
            wait(trainee)
            began = time.perf_counter()
            _ = a @ b
            wait(trainee)
            best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def measure(folder: Path, size: dict[str, int], precision: str, quantized: int) -> dict[str, Any]:
    model = encoder(folder / f"{precision}-{quantized}", size["width"], size["layers"], size["tokens"] + 2)
    trainee = load(ModelSpec(name=str(model), max_length=size["tokens"], precision=precision), 3, 8)  # type: ignore[arg-type]
    draw, rows = np.random.default_rng(0), size["steps"] * size["batch"]
    data = Encoded(
        input_ids=draw.integers(5, 190, (rows, size["tokens"]), dtype=np.int32),
        attention_mask=np.ones((rows, size["tokens"]), dtype=np.uint8),
        labels=draw.integers(0, 3, rows),
    )
    adapter = adapters.initial(trainee.layout, 8, 0)

    def round(steps: int, quantized: int) -> Report:
        layers = tuple(range(size["layers"]))
        assignment = Assignment(
            device=0, present=layers, trained=layers, quantized=layers[:quantized],
            ranks=(8,) * len(layers), steps=steps, learning_rate=1e-3,
        )  # fmt: skip
        training = TrainingSpec(batch=size["batch"], steps=steps, padding="max")
        report = train(
            trainee, assignment, adapter, data, training=training, key=(0, 0, 1, 0), round=1, based_on=""
        ).report
        if report.failure:
            raise SystemExit(report.failure)
        return report

    with FlopCounterMode(display=False) as counted:
        round(1, 0)
    taken = [round(size["steps"], quantized).seconds for _ in range(ROUNDS + 1)][1:]
    peak, seconds = peak_flops(trainee, size["product"]), median(taken) / size["steps"]
    return {
        "precision": precision,
        "int8_layers": quantized,
        "step_ms": 1e3 * seconds,
        "tflops_a_step": counted.get_total_flops() / 1e12,
        "peak_tflops_per_second": peak / 1e12,
        "utilisation_percent": 100 * counted.get_total_flops() / seconds / peak,
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, on whatever is there; prints")
    given = parser.parse_args()
    if not given.tiny and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here; --tiny runs the same code at a tiny size")
    size = TINY if given.tiny else LARGE
    with tempfile.TemporaryDirectory(prefix="fedquad-") as folder:
        found = [measure(Path(folder), size, precision, min(q, size["layers"] - 1)) for precision, q in CASES]
    rows = [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in found]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    record("utilisation", rows, as_json=given.json or given.tiny, device=device)


if __name__ == "__main__":
    main()
