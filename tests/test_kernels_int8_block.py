"""Block quantization: what its mathematics promises, on plain torch."""

import subprocess
import sys

import pytest
import torch
from fedquad_kernels.int8_block import block_dequantize, block_quantize
from fedquad_kernels.int8_slab import slab_dequantize, slab_quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

SHAPES = [(1, 1), (1, 33), (33, 1), (32, 32), (31, 97), (100, 70), (64, 256)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


def by_block(of_blocks: torch.Tensor, rows: int, cols: int) -> torch.Tensor:
    return of_blocks.repeat_interleave(32, 0).repeat_interleave(32, 1)[:rows, :cols]


@settings(max_examples=60, deadline=None)
@given(arrays.arrays("float32", arrays.array_shapes(min_dims=2, max_dims=2, max_side=70), elements=FLOATS))
def test_the_error_is_at_most_half_a_step(values):
    x = torch.from_numpy(values)
    codes, scales = block_quantize(x)
    error = (block_dequantize(codes, scales, torch.float32).double() - x.double()).abs()
    # Two float32 roundings (x times 1 / scale, code times scale) move a value by 255 ulps of the step at most.
    assert (error <= by_block(scales.abs(), *x.shape).double() * (0.5 + 255 * 2**-23)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_ragged_shapes_round_trip_in_their_dtype(shape, dtype):
    x = torch.randn(shape).to(dtype)
    codes, scales = block_quantize(x)
    back = block_dequantize(codes, scales, dtype)
    assert (codes.shape, back.shape, back.dtype) == (x.shape, x.shape, dtype)
    half_ulp = {torch.float32: 2**-24, torch.bfloat16: 2**-9, torch.float16: 2**-11}[dtype]  # of storing the result
    assert ((back - x).float().abs() <= by_block(scales.abs(), *shape) * (0.5 + 256 * half_ulp)).all()


def test_a_zero_block_comes_back_as_zeros():
    codes, scales = block_quantize(torch.zeros(40, 40))
    assert not block_dequantize(codes, scales, torch.float32).any()
    assert (scales != 0).all()


def test_a_block_without_negative_values_spends_no_bit_on_the_sign():
    x = torch.rand(64, 32)
    x[40, 3] = -0.5
    codes, scales = block_quantize(x)
    assert scales[0, 0] == -x[:32].max() * (1 / 255)
    assert scales[1, 0] == x[32:].max() * (1 / 127)
    assert (block_dequantize(codes, scales, torch.float32) - x)[:32].abs().max() <= 1.01 / 510


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_bad_value_makes_its_block_nan_and_no_other(bad):
    x = torch.randn(64, 64)
    x[40, 3] = bad
    codes, scales = block_quantize(x)
    back = block_dequantize(codes, scales, torch.float32)
    assert back[32:, :32].isnan().all()
    back[32:, :32] = 0
    assert back.isfinite().all()


def test_subnormal_values_neither_overflow_nor_divide_by_zero():
    back = block_dequantize(*block_quantize(torch.full((4, 4), 1e-40)), torch.float32)
    assert (back >= 0).all()
    assert (back <= 1e-30).all()


def test_a_transposed_matrix_is_refused_by_its_strides():
    with pytest.raises(ValueError, match=r"strides \(1, 4\)"):
        block_quantize(torch.randn(8, 4).t())


def test_scales_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"need \(1, 2\) scales"):
        block_dequantize(torch.zeros(5, 40, dtype=torch.int8), torch.ones(2, 2), torch.float32)


def test_a_slab_holds_what_single_matrices_would():
    matrices = [torch.randn(100, 70), torch.randn(1, 5).bfloat16(), torch.randn(64, 32).half()]
    slab = slab_quantize(matrices)
    for x, back in zip(matrices, slab_dequantize(slab, range(3))):
        assert torch.equal(back, block_dequantize(*block_quantize(x), x.dtype))
    assert [x.shape for x in slab_dequantize(slab, [2])] == [(64, 32)]


def test_the_package_works_where_there_is_no_triton():
    code = (
        "import sys; sys.modules['triton'] = None; import torch, fedquad_kernels.int8_block as k; "
        "print(k.block_dequantize(*k.block_quantize(torch.ones(4, 4)), torch.float32).sum().item())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "16.0"
