"""What stands between forward and backward in place of a saved tensor.

A payload restores a dense run of memory; several saved tensors may share one, each a `View` with its own shape and
strides.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from fedquad_kernels.bits import pack_bits, unpack_bits
from fedquad_kernels.int8_block import block_dequantize, block_quantize
from torch.nn import functional as F

from fedquad.learn.activations.policy import as_matrix


class Payload(Protocol):
    """A run of memory in another form."""

    kept_bytes: int

    def claim(self) -> None:
        """Count one more saved tensor that will ask for the run."""

    def restore(self) -> torch.Tensor:
        """Return the run as a contiguous tensor."""


class Packed(Protocol):
    """What a pack hook returns."""

    def restore(self) -> torch.Tensor:
        """Return the tensor for the backward pass."""


def check_version(t: torch.Tensor, version: int) -> None:
    """Refuse a tensor that was changed after it was saved, as plain autograd does: hooks turn its own check off."""
    if t._version != version:
        raise RuntimeError(
            f"a tensor needed for the gradient was changed in place: {t.dtype} of shape {tuple(t.shape)} is at version "
            f"{t._version}, but was saved at version {version}; change a clone of it"
        )


@dataclass(slots=True, eq=False)
class Exact:
    """The tensor itself, passed through; held without its history, which would be a cycle that nothing frees."""

    tensor: torch.Tensor
    version: int

    def restore(self) -> torch.Tensor:
        check_version(self.tensor, self.version)
        return self.tensor


@dataclass(slots=True, eq=False)
class ShapeOnly:
    """A tensor of which the backward pass reads nothing but the shape."""

    like: torch.Tensor  # one zero
    shape: torch.Size

    def restore(self) -> torch.Tensor:
        return self.like.expand(self.shape)


@dataclass(slots=True, eq=False)
class View:
    """A saved tensor: where it lies in its payload's run."""

    payload: Payload
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int

    def restore(self) -> torch.Tensor:
        run = self.payload.restore()
        return run.as_strided(self.shape, self.stride, run.storage_offset() + self.offset)


class Block:
    """A float run in INT8, quantized where it stands."""

    def __init__(self, run: torch.Tensor) -> None:
        self.dtype = run.dtype
        self.codes, self.scales = block_quantize(as_matrix(run))
        self.kept_bytes = self.codes.nbytes + self.scales.nbytes

    def claim(self) -> None:
        pass

    def restore(self) -> torch.Tensor:
        return block_dequantize(self.codes, self.scales, self.dtype)


class Bits:
    """A mask, eight elements a byte."""

    def __init__(self, run: torch.Tensor) -> None:
        self.shape = run.shape
        self.bits = pack_bits(run)
        self.kept_bytes = self.bits.nbytes

    def claim(self) -> None:
        pass

    def restore(self) -> torch.Tensor:
        return unpack_bits(self.bits, self.shape)


class Repeated:
    """Equal copies of a tensor along its first dimension, kept once; `charge` is told when something saves them."""

    kept_bytes = 0

    def __init__(self, base: torch.Tensor, times: int, charge: Callable[[torch.Tensor], None]) -> None:
        self.base, self.times, self.charge = Exact(base.detach(), base._version), times, charge

    def claim(self) -> None:
        self.charge(self.base.tensor)

    def restore(self) -> torch.Tensor:
        base = self.base.restore()
        return base.repeat(self.times, *[1] * (base.dim() - 1))


class Activated:
    """SiLU's output, computed again from its input, which its own backward keeps in INT8 anyway.

    A gated MLP saves three tensors of its width: SiLU's input, its output, and the other branch that it is multiplied by.
    """

    kept_bytes = 0

    def __init__(self, source: Payload, shape: torch.Size) -> None:
        self.source, self.shape = source, shape

    def claim(self) -> None:
        self.source.claim()

    def restore(self) -> torch.Tensor:
        return F.silu(self.source.restore().view(self.shape))


class Normalized:
    """A LayerNorm's output, computed again from its input, which its own backward keeps in INT8 anyway.

    In BERT and its like it is the next layer's input, saved for LoRA's A: 1 of the 11 hidden-sized tensors of a layer.
    """

    kept_bytes = 0

    def __init__(self, source: Payload, norm: torch.nn.LayerNorm, shape: torch.Size) -> None:
        self.source, self.shape = source, shape
        self.normalized_shape, self.eps = norm.normalized_shape, norm.eps
        self.affine = [None if p is None else Exact(p.detach(), p._version) for p in (norm.weight, norm.bias)]

    def claim(self) -> None:
        self.source.claim()

    def restore(self) -> torch.Tensor:
        weight, bias = (None if p is None else p.restore() for p in self.affine)
        x = self.source.restore().view(self.shape)
        # Everything here is detached: a second derivative must not go through this recomputation.
        return F.layer_norm(x, list(self.normalized_shape), weight, bias, self.eps)
