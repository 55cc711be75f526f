"""Where a kernel runs: Triton on an NVIDIA GPU of compute capability 8.0 or above, plain torch everywhere else.

Both give the same codes bit for bit, so that a phone, a Xavier (7.2, no Triton) and a data centre can share a fleet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import torch


def _optional(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:  # no wheel for macOS, Windows or a Jetson's older Python
        return None


triton, tl = _optional("triton"), _optional("triton.language")

LAUNCH = {"num_warps": 4, "enable_fp_fusion": False}
"""One fixed configuration: autotuning re-times every new sequence length. No contraction of a*b+c either: a fused
multiply-add rounds once where plain torch rounds twice, and moves a code by one."""

POINTEES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


def jit(function: Callable[..., None]) -> Any:
    """Return the Triton kernel, or the function itself (never called) where there is no Triton."""
    return function if triton is None else triton.jit(function)


def is_on_triton(x: torch.Tensor) -> bool:
    """Say whether this tensor's device runs the Triton kernels."""
    return x.is_cuda and triton is not None and _is_capable(x.device.index)


@cache
def _is_capable(index: int) -> bool:
    return torch.version.cuda is not None and torch.cuda.get_device_capability(index) >= (8, 0)


def pointee(dtype: torch.dtype) -> Any:
    """Return Triton's name for a floating dtype."""
    return getattr(tl, POINTEES[dtype])


def is_floating(dtype: torch.dtype) -> bool:
    """Say whether tensors of this dtype can be quantized here."""
    return dtype in POINTEES


@cache
def _device_table(rows: tuple[tuple[int, ...], ...], device: torch.device) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.int64, device=device)


def device_table(rows: Sequence[tuple[int, ...]], device: torch.device) -> torch.Tensor:
    """Return the rows as an int64 tensor on the device, kept from one step to the next.

    The caching allocator hands out the same addresses step after step, so that the upload (a synchronising copy of some
    10 us) happens in the first steps only.
    """
    if _device_table.cache_info().currsize > 4096:
        _device_table.cache_clear()
    return _device_table(tuple(rows), device)
