"""How long does SDPA take on this CPU, forward and back: in fp32, in bf16, and in bf16 through fp32 (fedquad/learn/attention.py)?

    python -m benchmarks.attention            # a minute on one core; adds to attention.csv
    python -m benchmarks.attention --json

4,096 tokens whatever the length of a sequence, a boolean padding mask, one thread; CPU milliseconds, medians of taking turns.
"""

import time
from statistics import median

import torch
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.rows import arguments, record

TOKENS, HEADS, TURNS = 4096, 6, 7
LENGTHS = (32, 64, 128, 256, 512, 1024)
WAYS = {"fp32": (torch.float32, torch.float32), "bf16": (torch.bfloat16, torch.bfloat16), "through fp32": (torch.bfloat16, torch.float32)}  # fmt: skip


def taken(length: int, width: int, kept: torch.dtype, computed: torch.dtype) -> float:
    """CPU seconds of one forward and backward."""
    shape = (TOKENS // length, length, HEADS, width)
    q, k, v = (torch.ones(shape, dtype=kept).transpose(1, 2).requires_grad_() for _ in range(3))
    mask = torch.ones(shape[0], 1, length, length, dtype=torch.bool)
    mask[..., -length // 8 :] = False
    began = time.process_time()
    y = scaled_dot_product_attention(q.to(computed), k.to(computed), v.to(computed), attn_mask=mask).to(kept)
    y.backward(torch.ones_like(y))
    return time.process_time() - began


def row(length: int, width: int) -> dict[str, object]:
    found = {way: [taken(length, width, *WAYS[way]) for _ in range(1 + TURNS)][1:] for way in WAYS}
    each = {way: 1e3 * median(one) for way, one in found.items()}
    times = {"bf16_over_through_fp32": round(each["bf16"] / each["through fp32"], 2)}
    return {"tokens": length, "head": width, **{f"{way} ms": round(value, 2) for way, value in each.items()}, **times}


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    torch.set_num_threads(1)
    record("attention", [row(length, width) for width in (16, 64) for length in LENGTHS], as_json=as_json, appends=True)


if __name__ == "__main__":
    main()
