"""Quantize many matrices in one launch into one slab of codes, and back.

A transformer layer keeps about eleven tensors. Launched one by one from Python they cost 24 x 23 x 14 us = 8 ms a step
of RoBERTa-large (derived; half of its bf16 step on an H200), launched together 1.5 ms. The kernel finds its matrix in a
table of pointers, one row a matrix: address, rows, cols, where its codes and its scales start, its first tile.

The arithmetic is that of int8_block; codes of each matrix start at a multiple of 16, so that loads stay 16 bytes wide.
"""

from __future__ import annotations

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fedquad_kernels.backend import LAUNCH, device_table, is_on_triton, jit, pointee, tl
from fedquad_kernels.int8_block import (
    BLOCK,
    TILE_COLS,
    block_dequantize_reference,
    block_quantize_reference,
    dequantize_tile,
    quantize_tile,
    scales_shape,
)

FIELDS = 6
ALIGNMENT = 16
BEYOND = 1 << 62  # the first tile of a padding row: never reached


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Where one matrix lies in its slab."""

    rows: int
    cols: int
    dtype: torch.dtype
    code_at: int
    scale_at: int


@dataclass(frozen=True, slots=True, eq=False)
class BlockSlab:
    """Codes and scales of several matrices, one tensor each."""

    codes: torch.Tensor
    scales: torch.Tensor
    placed: tuple[Placed, ...]


def slab_quantize(matrices: Sequence[torch.Tensor]) -> BlockSlab:
    """Quantize contiguous matrices of one device; one launch for each dtype among them."""
    slab = _empty_slab(matrices)
    (slab_quantize_triton if is_on_triton(matrices[0]) else slab_quantize_reference)(matrices, slab)
    return slab


def slab_dequantize(slab: BlockSlab, wanted: Sequence[int]) -> list[torch.Tensor]:
    """Return the wanted matrices, each a tensor of its own, so that each is freed when its gradient is done."""
    outs = [_empty_like(slab.placed[index], slab.codes.device) for index in wanted]
    (slab_dequantize_triton if is_on_triton(slab.codes) else slab_dequantize_reference)(slab, wanted, outs)
    return outs


def _empty_like(placed: Placed, device: torch.device) -> torch.Tensor:
    return torch.empty(placed.rows, placed.cols, dtype=placed.dtype, device=device)


def _empty_slab(matrices: Sequence[torch.Tensor]) -> BlockSlab:
    placed, code_at, scale_at = [], 0, 0
    for x in matrices:
        rows, cols = x.shape
        placed.append(Placed(rows, cols, x.dtype, code_at, scale_at))
        down, across = scales_shape(rows, cols)
        code_at += -(-rows * cols // ALIGNMENT) * ALIGNMENT
        scale_at += down * across
    device = matrices[0].device
    codes = torch.empty(code_at, dtype=torch.int8, device=device)
    return BlockSlab(codes, torch.empty(scale_at, dtype=torch.float32, device=device), tuple(placed))


def views(slab: BlockSlab, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one matrix's codes and scales, as views of the slab."""
    at = slab.placed[index]
    down, across = scales_shape(at.rows, at.cols)
    codes = slab.codes[at.code_at : at.code_at + at.rows * at.cols].view(at.rows, at.cols)
    return codes, slab.scales[at.scale_at : at.scale_at + down * across].view(down, across)


def slab_quantize_reference(matrices: Sequence[torch.Tensor], slab: BlockSlab) -> None:
    """Fill the slab matrix by matrix."""
    for index, x in enumerate(matrices):
        for part, value in zip(views(slab, index), block_quantize_reference(x)):
            part.copy_(value)


def slab_dequantize_reference(slab: BlockSlab, wanted: Sequence[int], outs: Sequence[torch.Tensor]) -> None:
    """Fill the outputs matrix by matrix."""
    for index, out in zip(wanted, outs):
        out.copy_(block_dequantize_reference(*views(slab, index), out.dtype))


@jit
def find_row(table_ptr, tile, ROWS: tl.constexpr, FIELDS: tl.constexpr):
    """Return the row whose tiles hold this one: the last that starts at or before it."""
    firsts = tl.load(table_ptr + tl.arange(0, ROWS) * FIELDS + (FIELDS - 1))
    return table_ptr + (tl.sum((firsts <= tile).to(tl.int32), axis=0) - 1) * FIELDS


@jit
def _slab_quantize_kernel(
    table_ptr, codes_ptr, scales_ptr, POINTEE: tl.constexpr, ALIGNED: tl.constexpr,
    ROWS: tl.constexpr, FIELDS: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0).to(tl.int64)
    row = find_row(table_ptr, tile, ROWS, FIELDS)
    x_ptr = tl.load(row).to(tl.pointer_type(POINTEE))
    rows, cols, code_at = tl.load(row + 1), tl.load(row + 2), tl.load(row + 3)
    if ALIGNED:
        x_ptr, cols = tl.multiple_of(x_ptr, 16), tl.multiple_of(cols, 16)
    code_at = tl.multiple_of(code_at, 16)
    tile -= tl.load(row + 5)
    across = tl.cdiv(cols, TILE)
    scales_ptr += tl.load(row + 4)
    quantize_tile(x_ptr, codes_ptr + code_at, scales_ptr, tile // across, tile % across, rows, cols, BLOCK, TILE)


@jit
def _slab_dequantize_kernel(
    table_ptr, codes_ptr, scales_ptr, POINTEE: tl.constexpr, ALIGNED: tl.constexpr,
    ROWS: tl.constexpr, FIELDS: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0).to(tl.int64)
    row = find_row(table_ptr, tile, ROWS, FIELDS)
    x_ptr = tl.load(row).to(tl.pointer_type(POINTEE))
    rows, cols, code_at = tl.load(row + 1), tl.load(row + 2), tl.load(row + 3)
    if ALIGNED:
        x_ptr, cols = tl.multiple_of(x_ptr, 16), tl.multiple_of(cols, 16)
    code_at = tl.multiple_of(code_at, 16)
    tile -= tl.load(row + 5)
    across = tl.cdiv(cols, TILE)
    scales_ptr += tl.load(row + 4)
    dequantize_tile(codes_ptr + code_at, scales_ptr, x_ptr, tile // across, tile % across, rows, cols, BLOCK, TILE)


def slab_quantize_triton(matrices: Sequence[torch.Tensor], slab: BlockSlab) -> None:
    """Fill the slab in one launch a dtype."""
    _launch(_slab_quantize_kernel, slab, range(len(matrices)), matrices)


def slab_dequantize_triton(slab: BlockSlab, wanted: Sequence[int], outs: Sequence[torch.Tensor]) -> None:
    """Fill the outputs in one launch a dtype."""
    _launch(_slab_dequantize_kernel, slab, wanted, outs)


def _launch(kernel, slab: BlockSlab, wanted: Sequence[int], matrices: Sequence[torch.Tensor]) -> None:
    for dtype in dict.fromkeys(x.dtype for x in matrices):
        chosen = [(slab.placed[index], x) for index, x in zip(wanted, matrices) if x.dtype == dtype]
        rows, tiles = [], 0
        for at, x in chosen:
            rows.append((x.data_ptr(), at.rows, at.cols, at.code_at, at.scale_at, tiles))
            tiles += -(-at.rows // BLOCK) * -(-at.cols // TILE_COLS)
        aligned = all(x.data_ptr() % ALIGNMENT == 0 and at.cols % ALIGNMENT == 0 for at, x in chosen)
        padded = padded_table(rows)
        table = device_table(padded, slab.codes.device)
        with torch.cuda.device_of(slab.codes):
            kernel[(tiles,)](
                table, slab.codes, slab.scales, pointee(dtype), aligned,
                len(padded), FIELDS, BLOCK, TILE_COLS, **LAUNCH,
            )  # fmt: skip


def padded_table(rows: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the rows padded to a power of two, at least 16: few distinct lengths, few compilations."""
    length = max(16, 1 << (len(rows) - 1).bit_length())
    return [*rows, *[(0,) * (FIELDS - 1) + (BEYOND,)] * (length - len(rows))]
