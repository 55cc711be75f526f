"""Count a CUDA training step's saved bytes without a GPU: on the meta device, with CUDA's choice of operators.

A CPU saves other things: dropout masks as floats, scores where fused attention keeps none. Under this mode dropout is
CUDA's fused one, with a boolean mask, and SDPA the memory-efficient one, with a log-sum-exp and its bias.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class CudaOperators(TorchFunctionMode):
    """Run dropout and SDPA as CUDA would; on the meta device nobody can see whether a batch is padded, so that it is told."""

    def __init__(self, is_padded: bool = True) -> None:
        super().__init__()
        self.is_padded = is_padded

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.dropout:
            return _dropout(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention:
            return _efficient_attention(*args, **(kwargs or {}))
        if func is torch.Tensor.all and args[0].is_meta:
            return not self.is_padded  # transformers asks whether nothing is padded, or packed
        return func(*args, **(kwargs or {}))


def _dropout(x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    if not training or p == 0:
        return x
    out: torch.Tensor = torch.ops.aten.native_dropout(x, p, True)[0]
    return out


def _efficient_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        zeros = torch.zeros(attn_mask.shape, dtype=query.dtype, device=query.device)
        attn_mask = zeros.masked_fill_(~attn_mask, -torch.inf)
    bias = None if attn_mask is None else attn_mask.expand(*query.shape[:-1], key.shape[-2])
    attend = torch.ops.aten._scaled_dot_product_efficient_attention
    out: torch.Tensor = attend(query, key, value, bias, True, dropout_p, is_causal, scale=scale)[0]
    return out
