"""What compression costs a training step in time, against the plain step and against activation checkpointing.

    python -m benchmarks.activation_step                  # activation_step.csv: the mini backbone on one CPU core
    python -m benchmarks.activation_step --device cuda    # activation_step_cuda.csv: RoBERTa-large, and the kernels
    python -m benchmarks.activation_step --tiny           # prints: the code of the GPU cases, at a tiny size

Forward and backward, every layer trained; plain, compressed and checkpointed steps take turns in one process, and medians
of 30 are compared. On the CPU time is the process's own: other processes do not count. On a GPU it is events'.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from fedquad_kernels.bits import pack_bits
from fedquad_kernels.gelu import gelu_code
from fedquad_kernels.int8_block import block_dequantize, block_quantize

from benchmarks.activation_models import batch_of, build, place, quiet
from benchmarks.rows import arguments, record
from fedquad.learn.activations.compress import compress

MODES = ("plain", "compressed", "checkpointed")
Timer = Callable[[Callable[[], object]], float]
# shape, attention, precision, batch, tokens, most that a compressed step may cost more
CPU_CASES = [("mini", "eager", "fp32", 32, 64, 0.5), ("mini", "sdpa", "fp32", 32, 64, 0.5)]
CUDA_CASES = [
    ("roberta-large", "sdpa", "bf16", 32, 128, 0.20),
    ("roberta-large", "eager", "bf16", 32, 128, 0.20),
    ("roberta-large", "sdpa", "bf16", 32, 256, 0.15),
    ("roberta-large", "sdpa", "fp32", 32, 128, 0.06),
    ("roberta-large", "eager", "fp32", 32, 128, 0.06),
]
TINY_CASES = [(*case[:3], 2, 64, case[5]) for case in CUDA_CASES]
MEGABYTES = (4, 16, 64, 256)


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def cuda_seconds(work: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3


@contextmanager
def mode_of(model: Any, mode: str) -> Iterator[None]:
    """Put the model into a mode for the block."""
    if mode == "compressed":
        with compress(model, range(model.config.num_hidden_layers)):
            yield
        return
    if mode == "checkpointed":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    try:
        yield
    finally:
        if mode == "checkpointed":
            model.gradient_checkpointing_disable()


def steps(case: tuple[Any, ...], device: str, timer: Timer, count: int, warm: int, sizes: Any) -> list[dict[str, Any]]:
    """Return one row a mode."""
    shape, attention, precision, rows, seq, allowed = case
    model = build(shape, attention, precision, device=device, lora_dropout=0.1, **sizes)
    batch = batch_of(rows, seq, device)

    def step() -> None:
        model.zero_grad()
        model(**batch).loss.backward()

    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    peaks = dict.fromkeys(MODES, 0)
    for turn in range(warm + count):
        for mode in MODES:
            with mode_of(model, mode):
                if device == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                taken = timer(step)
                peaks[mode] = torch.cuda.max_memory_allocated() if device == "cuda" else 0
            if turn >= warm:
                seconds[mode].append(taken)
    medians = {mode: statistics.median(values) for mode, values in seconds.items()}
    layers = model.config.num_hidden_layers
    opening = statistics.median(cpu_seconds(lambda: compress(model, range(layers)).close()) for _ in range(9))
    setting = {"shape": shape, "attention": attention, "precision": precision, "batch": rows, "seq": seq}
    return [
        {
            **setting,
            "layers": layers,
            "mode": mode,
            "steps": count,
            "median_ms": round(medians[mode] * 1e3, 3),
            "overhead": round(medians[mode] / medians["plain"] - 1, 4),
            "allowed": allowed if mode == "compressed" else None,
            "peak_mib": round(peaks[mode] / 2**20, 1) or None,
            "open_and_close_ms": round(opening * 1e3, 3) if mode == "compressed" else None,
        }
        for mode in MODES
    ]


def kernels(device: str, timer: Timer, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return each kernel's bandwidth against `copy_` of as many bytes read."""
    rows = []
    for megabytes in sizes:
        for dtype in (torch.bfloat16, torch.float32):
            x = torch.randn(megabytes * 2**20 // dtype.itemsize // 1024, 1024, device=device).to(dtype)
            codes, scales = block_quantize(x)
            mask, out = x > 0, torch.empty_like(x)
            n = x.numel()
            work: dict[str, tuple[Callable[[], object], int]] = {
                "copy": (lambda out=out, x=x: out.copy_(x), 2 * x.nbytes),
                "block_quantize": (lambda x=x: block_quantize(x), x.nbytes + n),
                "block_dequantize": (lambda c=codes, s=scales, d=dtype: block_dequantize(c, s, d), x.nbytes + n),
                "gelu_code": (lambda x=x: gelu_code(x, "erf"), x.nbytes + n),
                "pack_bits": (lambda m=mask: pack_bits(m), n + n // 8),
            }
            taken = {name: statistics.median(timer(call) for _ in range(20)) for name, (call, _) in work.items()}
            copied = work["copy"][1] / taken["copy"]
            for name, (_, moved) in work.items():
                rate = moved / taken[name]
                row = {"mode": name, "precision": str(dtype)[6:], "megabytes": megabytes}
                row |= {"median_ms": round(taken[name] * 1e3, 4), "gigabytes_per_second": round(rate / 1e9, 1)}
                rows.append({**row, "of_copy": round(rate / copied, 3), "allowed": 0.8 if megabytes >= 16 else None})
    return rows


def main() -> None:
    quiet()
    parser = arguments(__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--tiny", action="store_true", help="the GPU's cases at a size for trying the script")
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device, timer = options.device, cuda_seconds if options.device == "cuda" else cpu_seconds
    is_large = options.device == "cuda" or options.tiny
    cases = TINY_CASES if options.tiny else CUDA_CASES if is_large else CPU_CASES
    sizes = {"num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512}
    rows: list[dict[str, Any]] = []
    for case in cases:
        rows += steps(case, device, timer, options.steps, 10 if is_large else 3, sizes if options.tiny else {})
    if is_large:
        rows += kernels(device, timer, (1,) if options.tiny else MEGABYTES)
    name = "activation_step_cuda" if device == "cuda" else "activation_step"
    record(name, rows, as_json=options.json or options.tiny, device=place(device))


if __name__ == "__main__":
    main()
