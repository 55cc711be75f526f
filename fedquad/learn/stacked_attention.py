"""Attention of the model that a stack holds, dropped by the devices' own streams.

with attending(stack, model.config): ...       # transformers' layers ask the stack meanwhile
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv
from transformers.masking_utils import eager_mask

from fedquad.learn.attention import attend as sdpa

EAGER = "fedquad_stacked"


class Holder(Protocol):
    """Who drops."""

    def dropout(self, rate: float, x: torch.Tensor) -> torch.Tensor: ...


OPEN: list[Holder] = []  # whose attention is ours


@contextmanager
def attending(stack: Holder, config: Any) -> Iterator[None]:
    """Have the stack's attention in place of the model's, where some of it is dropped."""
    before = config._attn_implementation
    if not drops_attention(config):
        yield
        return
    config._attn_implementation = EAGER
    OPEN.append(stack)
    try:
        yield
    finally:
        config._attn_implementation = before
        OPEN.clear()


def drops_attention(config: Any) -> bool:
    return any(getattr(config, name, 0.0) for name in ("attention_probs_dropout_prob", "attention_dropout"))


def attend(module: Any, qkv: Sequence[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """What the model's attention would answer these."""
    how: Any = sdpa if module.config._attn_implementation == "sdpa" else eager
    y: torch.Tensor = how(module, *qkv, mask, dropout=module.dropout.p, scaling=module.scaling)[0]
    return y


def eager(
    module: Any, q: Any, k: Any, v: Any, mask: Any, dropout: float = 0.0, scaling: float | None = None, **_: Any
) -> Any:
    """Attention as transformers' eager one does it, for models that drop some of it."""
    groups = getattr(module, "num_key_value_groups", 1)
    k, v = repeat_kv(k, groups), repeat_kv(v, groups)
    scores = q @ k.transpose(2, 3) * (q.shape[-1] ** -0.5 if scaling is None else scaling)
    share = torch.softmax(scores if mask is None else scores + mask, -1)
    if dropout:
        share = OPEN[-1].dropout(dropout, share)
    return (share @ v).transpose(1, 2), None


AttentionInterface.register(EAGER, eager)
AttentionMaskInterface.register(EAGER, eager_mask)
