"""Kernels for activations saved in few bits, in Triton, each beside its plain-torch reference.

They know nothing of models or hooks: matrices go in, codes come out, the same bits on every device.
"""

from fedquad_kernels.bits import pack_bits, pack_bits_many, unpack_bits
from fedquad_kernels.gelu import gelu_backward, gelu_code
from fedquad_kernels.int8_block import block_dequantize, block_quantize
from fedquad_kernels.int8_slab import BlockSlab, slab_dequantize, slab_quantize

__all__ = [
    "BlockSlab",
    "block_dequantize",
    "block_quantize",
    "gelu_backward",
    "gelu_code",
    "pack_bits",
    "pack_bits_many",
    "slab_dequantize",
    "slab_quantize",
    "unpack_bits",
]
