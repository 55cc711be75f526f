"""transformers' SDPA, with bf16's taken in float32 where a CPU is faster so: short sequences that are trained.

torch's backward of bf16 attention takes up to nine times as long as float32's on a CPU, less the longer and wider its heads are
(benchmarks/attention.py): two fifths of a bf16 step of an encoder. Importing this puts it in the place of `sdpa`.
"""

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

MOST_NUMBERS = 1 << 13  # of a head, tokens times width: beyond, little is gained or lost


def attend(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **more: Any) -> Any:
    """What transformers' own answers, through float32 where that is faster."""
    if not is_faster_in_float32(query):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **more)
    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.float()
    y, weights = sdpa_attention_forward(module, query.float(), key.float(), value.float(), attention_mask, **more)
    return y.to(query.dtype), weights


def is_faster_in_float32(query: torch.Tensor) -> bool:
    """Whether a backward pass will follow, in bf16, on a CPU, of small heads."""
    is_half_on_cpu = query.dtype == torch.bfloat16 and query.device.type == "cpu"
    return is_half_on_cpu and query.requires_grad and query.shape[-2] * query.shape[-1] <= MOST_NUMBERS


AttentionInterface.register("sdpa", attend)
