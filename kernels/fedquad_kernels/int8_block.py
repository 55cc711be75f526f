"""Quantize a matrix to INT8 in blocks of 32x32 that share one float32 scale, and back.

    scale = max(max|x| / 127, 1e-30)      code = round(x / scale)            x' = code * scale
    scale = max(max|x| / 255, 1e-30)      code = round(x / scale) - 128      x' = (code + 128) * scale      where all x >= 0

Rounding is to nearest, ties to even, so that |x - x'| <= scale / 2. A block without a negative value spends no bit on
the sign, which halves the error of attention's probabilities; its scale is stored negated. The floor of the scale spares
a zero block the division by zero; a block that holds NaN or infinity gets the scale NaN and comes back as NaN, so that
gradient scalers and debuggers still see it. Blocks as in Jetfire (arXiv 2403.12422), whose scales are fp16: those
overflow above 8.3e6 and lose three digits, for 0.2 % of the bytes.

Shapes: x is (rows, cols), contiguous; codes likewise; scales are (ceil(rows / 32), ceil(cols / 32)).
"""

from __future__ import annotations

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
import torch
from torch.nn import functional as F

from fedquad_kernels.backend import LAUNCH, is_floating, is_on_triton, jit, tl

BLOCK = 32
TILE_COLS = 128
LEAST_SCALE = 1e-30


def block_quantize(x_RC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the INT8 codes and the scales of a contiguous matrix of float32, bfloat16 or float16."""
    if x_RC.dim() != 2 or not x_RC.is_contiguous() or not is_floating(x_RC.dtype):
        raise ValueError(
            f"block_quantize takes a contiguous matrix of float32, bfloat16 or float16, not {x_RC.dtype} of shape "
            f"{tuple(x_RC.shape)} and strides {x_RC.stride()}; give x.contiguous().flatten(0, -2)"
        )
    return (block_quantize_triton if is_on_triton(x_RC) else block_quantize_reference)(x_RC)


def block_dequantize(codes_RC: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the matrix that codes and scales stand for."""
    if tuple(scales.shape) != scales_shape(*codes_RC.shape):
        raise ValueError(
            f"codes of shape {tuple(codes_RC.shape)} need {scales_shape(*codes_RC.shape)} scales, "
            f"not {tuple(scales.shape)}"
        )
    return (block_dequantize_triton if is_on_triton(codes_RC) else block_dequantize_reference)(codes_RC, scales, dtype)


def scales_shape(rows: int, cols: int) -> tuple[int, int]:
    """Return how many blocks a matrix has, down and across."""
    return -(-rows // BLOCK), -(-cols // BLOCK)


def block_quantize_reference(x_RC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantize with torch operations alone; the definition that the kernel is held to."""
    rows, cols = x_RC.shape
    down, across = scales_shape(rows, cols)
    x = x_RC.float()
    if rows % BLOCK or cols % BLOCK:
        x = F.pad(x, (0, across * BLOCK - cols, 0, down * BLOCK - rows))
    x = x.view(down, BLOCK, across * BLOCK)
    # Rows first: a reduction over the outer dimension is vectorised, 0.07 ms against 1.5 ms for vector_norm(inf)
    # over both at 2048x256 on one core.
    low = x.amin(1).view(down, across, BLOCK).amin(2)
    amax = torch.maximum(x.amax(1).view(down, across, BLOCK).amax(2), -low)
    is_bad = ~(amax < torch.inf)
    is_unsigned = (low >= 0) & ~is_bad
    scales = (amax * torch.where(is_unsigned, 1 / 255, 1 / 127)).clamp_min(LEAST_SCALE)
    v = x * _over_rows(torch.where(is_bad, 0.0, 1 / scales))
    if _is_needed(is_bad):
        v = v.nan_to_num_(0.0)
    v = v.round_()
    if _is_needed(is_unsigned):
        v = v.sub_(_over_rows(128.0 * is_unsigned))
    codes = v.to(torch.int8).view(down * BLOCK, across * BLOCK)
    signed = torch.where(is_unsigned, -scales, scales)
    return codes[:rows, :cols].contiguous(), torch.where(is_bad, torch.nan, signed)


def _is_needed(of_blocks: torch.Tensor) -> bool:
    """Say whether any block asks for a pass over all of them; asking a GPU would wait for it, and there the answer is yes."""
    return of_blocks.device.type != "cpu" or bool(of_blocks.any())


def block_dequantize_reference(codes_RC: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Dequantize with torch operations alone."""
    rows, cols = codes_RC.shape
    down, across = scales_shape(rows, cols)
    codes = codes_RC.to(torch.float32)
    if rows % BLOCK or cols % BLOCK:
        codes = F.pad(codes, (0, across * BLOCK - cols, 0, down * BLOCK - rows))
    codes = codes.view(down, BLOCK, across * BLOCK)
    is_unsigned = scales < 0
    if _is_needed(is_unsigned):
        codes = codes.add_(_over_rows(128.0 * is_unsigned))
    x = codes.mul_(_over_rows(scales.abs())).view(down * BLOCK, across * BLOCK)
    return x[:rows, :cols].contiguous().to(dtype)


def _over_rows(of_blocks: torch.Tensor) -> torch.Tensor:
    """Return each block's number once for each of its columns, shaped (down, 1, cols)."""
    down, across = of_blocks.shape
    return of_blocks.unsqueeze(2).expand(down, across, BLOCK).reshape(down, 1, across * BLOCK)


@jit
def quantize_tile(
    x_ptr, codes_ptr, scales_ptr, row_block, col_tile, rows, cols, BLOCK: tl.constexpr, TILE: tl.constexpr
):
    """Quantize the blocks of 32 rows and TILE columns; pointers to the matrix, its codes and its scales."""
    row = row_block * BLOCK + tl.arange(0, BLOCK)[:, None].to(tl.int64)
    col = col_tile * TILE + tl.arange(0, TILE)[None, :].to(tl.int64)
    inside = (row < rows) & (col < cols)
    x = tl.load(x_ptr + row * cols + col, mask=inside, other=0.0).to(tl.float32)
    x = tl.reshape(x, (BLOCK, TILE // BLOCK, BLOCK))
    # tl.max drops NaN: a bad element is looked for, not met.
    is_bad = tl.max(tl.max((tl.abs(x) < float("inf")).to(tl.int32) ^ 1, axis=2), axis=0) > 0
    amax = tl.max(tl.max(tl.abs(x), axis=2), axis=0)
    is_unsigned = (tl.min(tl.min(x, axis=2), axis=0) >= 0) & (is_bad == 0)
    scale = tl.maximum(amax * tl.where(is_unsigned, 1 / 255, 1 / 127), 1e-30)
    inverse = tl.math.div_rn(1.0, scale)
    v = tl.where(is_bad[None, :, None], 0.0, x * inverse[None, :, None])
    # 1.5 * 2^23: adding and subtracting it rounds to nearest even on any IEEE machine, without a library call.
    codes = (v + 12582912.0) - 12582912.0
    codes = (codes - tl.where(is_unsigned, 128.0, 0.0)[None, :, None]).to(tl.int8)
    scale = tl.where(is_bad, float("nan"), tl.where(is_unsigned, -scale, scale))
    tl.store(codes_ptr + row * cols + col, tl.reshape(codes, (BLOCK, TILE)), mask=inside)
    across = tl.cdiv(cols, BLOCK)
    block = col_tile * (TILE // BLOCK) + tl.arange(0, TILE // BLOCK)
    tl.store(scales_ptr + row_block * across + block, scale, mask=block < across)


@jit
def dequantize_tile(
    codes_ptr, scales_ptr, x_ptr, row_block, col_tile, rows, cols, BLOCK: tl.constexpr, TILE: tl.constexpr
):
    """Write back the blocks of 32 rows and TILE columns."""
    row = row_block * BLOCK + tl.arange(0, BLOCK)[:, None].to(tl.int64)
    col = col_tile * TILE + tl.arange(0, TILE)[None, :].to(tl.int64)
    inside = (row < rows) & (col < cols)
    codes = tl.load(codes_ptr + row * cols + col, mask=inside, other=0).to(tl.float32)
    across = tl.cdiv(cols, BLOCK)
    block = col_tile * (TILE // BLOCK) + tl.arange(0, TILE // BLOCK)
    scale = tl.load(scales_ptr + row_block * across + block, mask=block < across, other=0.0)
    shift = tl.where(scale < 0, 128.0, 0.0)
    x = (tl.reshape(codes, (BLOCK, TILE // BLOCK, BLOCK)) + shift[None, :, None]) * tl.abs(scale)[None, :, None]
    tl.store(x_ptr + row * cols + col, tl.reshape(x, (BLOCK, TILE)).to(x_ptr.dtype.element_ty), mask=inside)


@jit
def _block_quantize_kernel(x_ptr, codes_ptr, scales_ptr, rows, cols, BLOCK: tl.constexpr, TILE: tl.constexpr):
    row_block, col_tile = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    quantize_tile(x_ptr, codes_ptr, scales_ptr, row_block, col_tile, rows, cols, BLOCK, TILE)


@jit
def _block_dequantize_kernel(codes_ptr, scales_ptr, x_ptr, rows, cols, BLOCK: tl.constexpr, TILE: tl.constexpr):
    row_block, col_tile = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    dequantize_tile(codes_ptr, scales_ptr, x_ptr, row_block, col_tile, rows, cols, BLOCK, TILE)


def block_quantize_triton(x_RC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantize in one launch."""
    rows, cols = x_RC.shape
    codes = torch.empty(rows, cols, dtype=torch.int8, device=x_RC.device)
    scales = torch.empty(scales_shape(rows, cols), dtype=torch.float32, device=x_RC.device)
    grid = (-(-rows // BLOCK), -(-cols // TILE_COLS))
    with torch.cuda.device_of(x_RC):
        _block_quantize_kernel[grid](x_RC, codes, scales, rows, cols, BLOCK, TILE_COLS, **LAUNCH)
    return codes, scales


def block_dequantize_triton(codes_RC: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Dequantize in one launch."""
    rows, cols = codes_RC.shape
    x = torch.empty(rows, cols, dtype=dtype, device=codes_RC.device)
    grid = (-(-rows // BLOCK), -(-cols // TILE_COLS))
    with torch.cuda.device_of(x):
        _block_dequantize_kernel[grid](codes_RC, scales, x, rows, cols, BLOCK, TILE_COLS, **LAUNCH)
    return x
