"""Attention of the model that a stack holds: each example by itself wherever its tokens lie, dropped by the devices' own streams.

with attending(stack, model.config): ...       # transformers' layers ask the stack meanwhile
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv
from transformers.masking_utils import eager_mask, sdpa_mask

from fedquad.learn.attention import attend as sdpa
from fedquad.learn.packed import Packing

EAGER, SDPA = "fedquad_stacked", "fedquad_stacked_sdpa"


class Holder(Protocol):
    """What a stack tells of itself."""

    part: slice
    packing: Packing | None
    packs: bool

    def dropout(self, rate: float, x: torch.Tensor) -> torch.Tensor: ...


OPEN: list[Holder] = []  # whose attention is ours


@contextmanager
def attending(stack: Holder, config: Any) -> Iterator[None]:
    """Have the stack's attention in place of the model's, where they differ."""
    before, drops = config._attn_implementation, drops_attention(config)
    if not (drops or stack.packs):
        yield
        return
    config._attn_implementation = SDPA if before == "sdpa" and not drops else EAGER
    OPEN.append(stack)
    try:
        yield
    finally:
        config._attn_implementation = before
        OPEN.clear()


def drops_attention(config: Any) -> bool:
    return any(getattr(config, name, 0.0) for name in ("attention_probs_dropout_prob", "attention_dropout"))


def eager(
    module: Any, q: Any, k: Any, v: Any, mask: Any, dropout: float = 0.0, scaling: float | None = None, **_: Any
) -> Any:
    """Attention as transformers' eager one does it, for models that drop some of it."""
    groups = getattr(module, "num_key_value_groups", 1)
    k, v = repeat_kv(k, groups), repeat_kv(v, groups)
    scores = q @ k.transpose(2, 3) * (q.shape[-1] ** -0.5 if scaling is None else scaling)
    share = OPEN[-1].dropout(dropout, torch.softmax(scores if mask is None else scores + mask, -1))
    return (share @ v).transpose(1, 2), None


def _attend(how: Any, module: Any, q: Any, k: Any, v: Any, mask: Any, **more: Any) -> Any:
    part, packing = OPEN[-1].part, OPEN[-1].packing
    if packing is None:
        return how(module, q, k, v, mask, **more)
    q, k, v = (packing.spread(one, part) for one in (q, k, v))
    y, weights = how(module, q, k, v, packing.mask(part), **more)
    return packing.gathered(y, part), weights


def _eager(*args: Any, **more: Any) -> Any:
    return _attend(eager, *args, **more)


def _sdpa(*args: Any, **more: Any) -> Any:
    return _attend(sdpa, *args, **more)


AttentionInterface.register(EAGER, _eager)
AttentionMaskInterface.register(EAGER, eager_mask)
AttentionInterface.register(SDPA, _sdpa)
AttentionMaskInterface.register(SDPA, sdpa_mask)
