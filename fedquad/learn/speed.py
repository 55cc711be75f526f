"""How much arithmetic this machine gets done: a few training steps of the embedded backbone, and a plain product of matrices."""

import time

import torch

from fedquad.learn.model import load
from fedquad.learn.profiler import Bench, Case
from fedquad.spec import ModelSpec

SIDE = 1024
TRIES = 3


def step_seconds(model: ModelSpec, batch: int, labels: int = 3) -> float:
    """CPU seconds of one training step of one process, all layers tuned; the least of a few."""
    torch.set_num_threads(1)
    trainee = load(model, labels, model.rank)
    bench = Bench(trainee, batch, model.max_length)
    case = Case(depth=trainee.layout.shape.layers)
    return min(seconds for _ in range(TRIES) for seconds, _ in bench.seconds(case))


def product_flops() -> float:
    """Operations a second of a product of matrices: on a GPU where there is one, else on one core."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    left = torch.ones((SIDE, SIDE), device=device)
    best = float("inf")
    for _ in range(TRIES + 1):
        began = time.perf_counter()
        (left @ left)[0, 0].item()  # which waits for a GPU
        best = min(best, time.perf_counter() - began)
    return 2 * SIDE**3 / best
