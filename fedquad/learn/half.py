"""Whether this machine's CPU would train faster in bf16: tried, since CPUs that name the instructions differ (benchmarks/half.py)."""

import time

import torch
from torch.nn import functional

ROWS, TURNS = 256, 3
LEAST_WIDTH = 128  # of a layer: below, what lies between its products takes longer in bf16
ENOUGH = 1.2  # times as fast, of products alone


def bf16_pays(width: int) -> bool:
    """Whether a transformer of this width trains faster in bf16 here."""
    return width >= LEAST_WIDTH and gain(width) > ENOUGH


def gain(width: int) -> float:
    """How many times as fast a layer's greatest product is in bf16 as in fp32."""
    x, weight = torch.ones(ROWS, width), torch.ones(4 * width, width)
    return _seconds(x, weight) / _seconds(x.bfloat16(), weight.bfloat16())


def _seconds(x: torch.Tensor, weight: torch.Tensor) -> float:
    """CPU seconds of the best of a few products, after one that finds nothing in place."""
    taken = []
    with torch.no_grad():
        for _ in range(1 + TURNS):
            began = time.process_time()
            functional.linear(x, weight)
            taken.append(time.process_time() - began)
    return max(min(taken[1:]), 1e-6)
