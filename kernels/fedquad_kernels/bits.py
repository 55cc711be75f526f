"""Keep a boolean mask as one bit an element; the mask's element k is bit k % 8 of byte k // 8.

PyTorch stores a bool in a byte, and dropout keeps one for every activation. Plain torch packs eight of them with one
multiplication: read as an int64, their bytes b0..b7 (0 or 1) times sum_i 2^(56 - 7 i) put b_i on bit 56 + i, and no two
terms meet, so that nothing carries.
"""

from __future__ import annotations

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
import math
from collections.abc import Sequence
from functools import cache

import torch
from torch.nn import functional as F

from fedquad_kernels.backend import LAUNCH, device_table, is_on_triton, jit, tl
from fedquad_kernels.int8_slab import FIELDS, find_row, padded_table

GATHER = 0x0102040810204080
TILE_BYTES = 1024


def pack_bits(mask: torch.Tensor) -> torch.Tensor:
    """Return a contiguous boolean mask as bytes of eight elements."""
    return pack_bits_many([mask])[0]


def pack_bits_many(masks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Pack contiguous masks of one device in one launch."""
    for mask in masks:
        if mask.dtype != torch.bool or not mask.is_contiguous():
            raise ValueError(
                f"pack_bits takes a contiguous boolean mask, not {mask.dtype} with strides {mask.stride()}"
            )
    return (pack_bits_triton if is_on_triton(masks[0]) else pack_bits_reference)(masks)


def unpack_bits(bits: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return the boolean mask of this shape."""
    if bits.numel() != -(-math.prod(shape) // 8):
        raise ValueError(f"a mask of shape {tuple(shape)} needs {-(-math.prod(shape) // 8)} bytes, not {bits.numel()}")
    return (unpack_bits_triton if is_on_triton(bits) else unpack_bits_reference)(bits, shape)


def pack_bits_reference(masks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Pack with torch operations alone."""
    return [_pack_one(mask.flatten().view(torch.uint8)) for mask in masks]


def _pack_one(mask: torch.Tensor) -> torch.Tensor:
    padding = -mask.numel() % 8
    if padding or mask.storage_offset() % 8:  # an int64 view must start on one
        mask = F.pad(mask, (0, padding)) if padding else mask.clone()
    return ((mask.view(torch.int64) * GATHER) >> 56).to(torch.uint8)


def unpack_bits_reference(bits: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Unpack by looking up each byte's eight elements."""
    words = _words(bits.device)[bits.to(torch.int32)]
    return words.view(torch.bool)[: math.prod(shape)].view(*shape)


@cache
def _words(device: torch.device) -> torch.Tensor:
    elements = torch.arange(256).view(256, 1) >> torch.arange(8) & 1
    return elements.to(torch.uint8).view(torch.int64).flatten().to(device)


@jit
def _pack_bits_kernel(table_ptr, ALIGNED: tl.constexpr, ROWS: tl.constexpr, FIELDS: tl.constexpr, TILE: tl.constexpr):
    tile = tl.program_id(0).to(tl.int64)
    row = find_row(table_ptr, tile, ROWS, FIELDS)
    mask_ptr, bits_ptr = tl.load(row), tl.multiple_of(tl.load(row + 1).to(tl.pointer_type(tl.uint8)), 16)
    length = tl.load(row + 2)
    byte = (tile - tl.load(row + 5)) * TILE + tl.arange(0, TILE).to(tl.int64)
    count = (length + 7) // 8
    if ALIGNED:
        count = tl.multiple_of(count, 16)
        words_ptr = tl.multiple_of(mask_ptr.to(tl.pointer_type(tl.int64)), 16)
        bits = (tl.load(words_ptr + byte, mask=byte < count, other=0) * 0x0102040810204080) >> 56
    else:
        element = byte[:, None] * 8 + tl.arange(0, 8)[None, :]
        mask = tl.load(mask_ptr.to(tl.pointer_type(tl.uint8)) + element, mask=element < length, other=0)
        bits = tl.sum(mask.to(tl.int32) << tl.arange(0, 8)[None, :], axis=1)
    tl.store(bits_ptr + byte, bits.to(tl.uint8), mask=byte < count)


@jit
def _unpack_bits_kernel(bits_ptr, mask_ptr, length, TILE: tl.constexpr):
    byte = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE).to(tl.int64)
    bits = tl.load(bits_ptr + byte, mask=byte * 8 < length, other=0).to(tl.int32)
    element = byte[:, None] * 8 + tl.arange(0, 8)[None, :]
    mask = (bits[:, None] >> tl.arange(0, 8)[None, :]) & 1
    tl.store(mask_ptr + element, mask.to(tl.uint8), mask=element < length)


def pack_bits_triton(masks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Pack in one launch."""
    outs, rows, tiles = [], [], 0
    for mask in masks:
        outs.append(torch.empty(-(-mask.numel() // 8), dtype=torch.uint8, device=mask.device))
        rows.append((mask.data_ptr(), outs[-1].data_ptr(), mask.numel(), 0, 0, tiles))
        tiles += -(-outs[-1].numel() // TILE_BYTES)
    padded = padded_table(rows)
    aligned = all(mask.data_ptr() % 16 == 0 and mask.numel() % 128 == 0 for mask in masks)
    table = device_table(padded, masks[0].device)
    with torch.cuda.device_of(masks[0]):
        _pack_bits_kernel[(tiles,)](table, aligned, len(padded), FIELDS, TILE_BYTES, **LAUNCH)
    return outs


def unpack_bits_triton(bits: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Unpack in one launch."""
    mask = torch.empty(tuple(shape), dtype=torch.bool, device=bits.device)
    grid = (-(-bits.numel() // TILE_BYTES),)
    with torch.cuda.device_of(bits):
        _unpack_bits_kernel[grid](bits, mask.view(torch.uint8), mask.numel(), TILE_BYTES, **LAUNCH)
    return mask
