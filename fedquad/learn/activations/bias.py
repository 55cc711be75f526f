"""Turn SDPA's boolean mask into its 0 / -inf bias once for all layers.

SDPA does so inside the operator, with the same result, but for each layer anew, and every layer saves its own copy: s
elements a token. One bias given to all layers is one storage.
"""

from typing import Any

import torch
from torch import nn

from fedquad.learn.activations.accounting import hold_address


class SharedBias:
    """The bias of the mask seen last."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._mask: object = None
        self.bias: torch.Tensor | None = None

    def of(self, mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return the mask's bias, of the same shape and expanded where the mask is."""
        storage = mask.untyped_storage()
        key = (storage._cdata, mask.storage_offset(), mask.shape, mask.stride(), mask._version, dtype)
        if key != self._key or self.bias is None:
            core = mask
            for dim, stride in enumerate(mask.stride()):
                core = core.narrow(dim, 0, 1) if stride == 0 else core
            self.bias = torch.zeros(core.shape, dtype=dtype, device=mask.device).masked_fill_(~core, -torch.inf)
            self._key, self._mask = key, hold_address(mask)
        return self.bias.expand(mask.shape)


def find_attention(layer: nn.Module) -> Any:
    """Return the module of a layer whose configuration says how it attends."""
    return next((module for module in layer.modules() if hasattr(module, "config")), None)


def with_shared_bias(
    shared: SharedBias, attention: Any, hidden: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the layer's arguments with a boolean SDPA mask replaced by the shared bias."""
    if attention is None or attention.config._attn_implementation != "sdpa":
        return args, kwargs

    def swap(value: Any) -> Any:
        is_mask = isinstance(value, torch.Tensor) and value.dtype == torch.bool and value.dim() == 4
        return shared.of(value, _query_dtype(hidden)) if is_mask else value

    return tuple(map(swap, args)), {name: swap(value) for name, value in kwargs.items()}


def _query_dtype(hidden: torch.Tensor) -> torch.dtype:
    kind = hidden.device.type
    is_cast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if is_cast else hidden.dtype
