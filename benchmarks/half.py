"""From which width on does bf16 pay on this CPU? CPU seconds of a training step in fp32 and in bf16, taking turns.

    python -m benchmarks.half            # about 3 minutes on one core; adds to half.csv
    python -m benchmarks.half --json

Encoders of 6 layers with random weights, LoRA of rank 8 on query and value in all layers, batch 16 and 48 tokens; `mini` as it
comes, too. One thread; the median of the turns. `of_products_alone` is what a campaign's start tries (fedquad/learn/half.py).
"""

import tempfile
from pathlib import Path
from statistics import median

import torch

from benchmarks.cohorts import encoder
from benchmarks.rows import arguments, record
from fedquad.learn.half import gain
from fedquad.learn.model import load
from fedquad.learn.profiler import Bench, Case
from fedquad.spec import ModelSpec

WIDTHS = (64, 128, 192, 256, 384, 768)
BATCH, TOKENS, TURNS = 16, 48, 5


def row(name: str, model: str) -> dict[str, object]:
    """A step's seconds in both."""
    benches, taken = {}, dict[str, list[float]](fp32=[], bf16=[])
    for precision in taken:
        trainee = load(ModelSpec(name=model, max_length=TOKENS, precision=precision), 3, 8)
        benches[precision] = Bench(trainee, BATCH, TOKENS), Case(depth=trainee.layout.shape.layers)
    for _ in range(TURNS):
        for precision, (bench, case) in benches.items():
            taken[precision].append(min(seconds for seconds, _ in bench.seconds(case)))
    fp32, bf16 = (median(taken[precision]) for precision in ("fp32", "bf16"))
    return {
        "model": name,
        "fp32_ms": round(1e3 * fp32, 1),
        "bf16_ms": round(1e3 * bf16, 1),
        "ratio": round(fp32 / bf16, 3),
        "of_products_alone": round(gain(trainee.layout.shape.hidden), 2),
    }


def main() -> None:
    given = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = [row("mini", "mini")]
        rows += [row(f"6 layers of {width}", str(encoder(Path(folder) / str(width), width))) for width in WIDTHS]
    record("half", rows, as_json=given.json, appends=True)


if __name__ == "__main__":
    main()
