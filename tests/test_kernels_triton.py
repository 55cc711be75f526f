"""The Triton kernels without a GPU: interpreted against plain torch, and compiled for each architecture.

The interpreter must be chosen before the kernels are imported, and other tests have imported them: it runs this file
again in a process of its own. Its cost is per program, so that tensors are small.
"""

import os
import subprocess
import sys
import warnings
from importlib.util import find_spec

import pytest
import torch
from fedquad_kernels import bits, gelu, int8_block, int8_slab

IS_INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"
pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="there is no Triton for this machine")
inside = pytest.mark.skipif(not IS_INTERPRETER, reason="runs in the interpreter's process")
outside = pytest.mark.skipif(IS_INTERPRETER, reason="runs in the process that starts the interpreter's")
SHAPES = [(1, 1), (1, 33), (33, 1), (100, 70), (32, 130)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@outside
def test_every_kernel_agrees_with_its_reference_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", __file__]
    done = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def hard(shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    """Return values over many magnitudes, ties included, with a zero block, a NaN and an infinity where they fit."""
    x = torch.randn(shape) * torch.logspace(-3, 3, shape[0])[:, None]
    x[:, 0] = torch.arange(shape[0]) / 2
    if shape == (100, 70):
        x[3, 3], x[40, 69] = float("nan"), float("-inf")
        x[64:, :32] = 0
        x[:32, 32:64].abs_()
    return x.to(dtype)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.nan_to_num(-7.0), b.nan_to_num(-7.0)) if a.is_floating_point() else torch.equal(a, b)


@inside
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_block_codes_scales_and_values_are_bit_identical(shape, dtype):
    x = hard(shape, dtype)
    codes, scales = int8_block.block_quantize_triton(x)
    expected = int8_block.block_quantize_reference(x)
    assert same(codes, expected[0])
    assert same(scales, expected[1])
    # The interpreter truncates float32 to bfloat16 where a GPU rounds: that store is looked at in float32.
    out = torch.float32 if dtype == torch.bfloat16 else dtype
    back = int8_block.block_dequantize_triton(codes, scales, out)
    assert same(back, int8_block.block_dequantize_reference(codes, scales, out))


@inside
def test_a_slab_of_mixed_shapes_and_dtypes_is_bit_identical():
    matrices = [hard((100, 70), torch.bfloat16), hard((1, 5), torch.float32), hard((64, 32), torch.float32)]
    slab, expected = int8_slab._empty_slab(matrices), int8_slab._empty_slab(matrices)
    int8_slab.slab_quantize_triton(matrices, slab)
    int8_slab.slab_quantize_reference(matrices, expected)
    for index in range(3):
        assert all(map(same, int8_slab.views(slab, index), int8_slab.views(expected, index)))
    outs = [torch.empty_like(matrices[index]) for index in (2, 1)]
    int8_slab.slab_dequantize_triton(slab, (2, 1), outs)
    assert all(map(same, outs, int8_slab.slab_dequantize(expected, (2, 1))))


@inside
def test_transposed_views_are_bit_identical_once_permuted_to_their_strides():
    from fedquad.learn.activations.policy import as_matrix, dense_run

    x = torch.randn(2, 5, 3, 16).transpose(1, 2)
    matrix = as_matrix(dense_run(x))
    assert all(map(same, int8_block.block_quantize_triton(matrix), int8_block.block_quantize_reference(matrix)))


@inside
@pytest.mark.parametrize("length", [1, 7, 8, 9, 8195])
def test_packed_bits_are_bit_identical(length):
    masks = [torch.rand(length) < 0.5, torch.rand(3, 8) < 0.5]
    packed = bits.pack_bits_triton(masks)
    assert all(map(same, packed, bits.pack_bits_reference(masks)))
    assert all(same(bits.unpack_bits_triton(byte, mask.shape), mask) for byte, mask in zip(packed, masks))


@inside
def test_masks_of_whole_words_take_the_wide_path_and_agree():
    masks = [torch.rand(64, 16) < 0.5, torch.rand(128) < 0.5]
    assert all(map(same, bits.pack_bits_triton(masks), bits.pack_bits_reference(masks)))


@inside
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["erf", "tanh"])
def test_gelu_codes_are_bit_identical(kind, dtype):
    x = torch.cat([torch.linspace(-6, 6, 4001), torch.tensor([float("nan"), float("inf"), -float("inf")])]).to(dtype)
    code = gelu.gelu_code_triton(x, kind)
    assert same(code, gelu.gelu_code_reference(x, kind))
    grad = torch.randn(x.shape)
    assert same(gelu.gelu_backward_triton(grad, code), gelu.gelu_backward_reference(grad, code))


POINTERS = {"x_ptr": "*bf16", "grad_ptr": "*bf16", "out_ptr": "*bf16", "scales_ptr": "*fp32", "table_ptr": "*i64"}
POINTERS |= {"codes_ptr": "*i8", "code_ptr": "*u8", "bits_ptr": "*u8", "mask_ptr": "*u8"}
CONSTANTS = {"BLOCK": 32, "ALIGNED": True, "ROWS": 16, "FIELDS": 6}
TILES = {bits: bits.TILE_BYTES, gelu: gelu.TILE, int8_block: int8_block.TILE_COLS, int8_slab: int8_block.TILE_COLS}
KERNELS = {
    "_block_quantize_kernel": int8_block,
    "_block_dequantize_kernel": int8_block,
    "_slab_quantize_kernel": int8_slab,
    "_slab_dequantize_kernel": int8_slab,
    "_pack_bits_kernel": bits,
    "_unpack_bits_kernel": bits,
    "_gelu_code_kernel": gelu,
    "_gelu_backward_kernel": gelu,
}


@outside
@pytest.mark.parametrize("capability", [80, 86, 87, 90])
@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_compiles_for_every_architecture_with_wide_loads(name, capability, tmp_path, monkeypatch):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(KERNELS[name], name)
    constants = {**CONSTANTS, "TILE": TILES[KERNELS[name]], "POINTEE": triton.language.bfloat16}
    integers, floats = ("rows", "cols", "length"), ("limit", "step", "lowest", *(f"c{power}" for power in range(8)))
    kinds = {**POINTERS, **dict.fromkeys(constants, "constexpr"), **dict.fromkeys(integers, "i32")}
    kinds |= dict.fromkeys(floats, "fp32")
    aligned = {
        (at,): [["tt.divisibility", 16]]
        for at, argument in enumerate(kernel.arg_names)
        if argument in POINTERS or argument in integers
    }
    source = ASTSource(
        fn=kernel,
        signature={argument: kinds[argument] for argument in kernel.arg_names},
        constexprs={argument: constants[argument] for argument in kernel.arg_names if argument in constants},
        attrs=aligned,
    )
    options = {"num_warps": 4, "enable_fp_fusion": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert compiled.asm["cubin"]
    wide = "ld.global.v2.b64" if "pack_bits" in name else "ld.global.v4"
    loads = [line for line in compiled.asm["ptx"].splitlines() if "ld.global" in line]
    assert any(wide in line for line in loads) or name == "_unpack_bits_kernel", loads
    assert "fma.rn.f32" not in compiled.asm["ptx"]  # contraction would move codes
