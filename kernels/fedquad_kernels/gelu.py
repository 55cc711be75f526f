"""Keep GELU's derivative as one byte instead of GELU's input.

Autograd keeps x, the largest tensor of a transformer layer, only to evaluate gelu'(x), which is bounded. A fixed code

    code = round((gelu'(x) - 1/2) / STEP - 1/2) + 128      gelu' ~ (code - 127.5) * STEP + 1/2      STEP = 0.5 / 101.5

needs no scales, is blind to outliers, reaches 0 and 1 exactly, and is off by at most 0.0028 for any x (a half step is
0.0025). The derivative's odd part is a polynomial of degree 15 in x clamped to +-4 (a minimax fit, off by 2.8e-4):
erf and exp differ in their last place from library to library, and the codes must not.
"""

from __future__ import annotations

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from typing import Literal

import torch

from fedquad_kernels.backend import LAUNCH, is_on_triton, jit, tl

Kind = Literal["erf", "tanh"]
STEP = 0.5 / 101.5
LOWEST = 0.5 - 127.5 * STEP
# Minimax in x/STEP over the clamped line, lowest power first; the last number is where x is clamped.
ERF = (161.734467, -53.1919708, 11.3506432, -1.56052816, 0.139588192, -0.00780694699, 0.000246386888, -3.33293178e-06)
TANH = (161.803009, -53.5675926, 11.678606, -1.66806722, 0.156922445, -0.00928943325, 0.000311010052, -4.46355898e-06)
CLAMP = {"erf": 4.0, "tanh": 3.9}
POWERS = {"erf": ERF, "tanh": TANH}
CHUNK = 65536  # elements that stay in a core's cache over all passes: 0.85 ms against 1.09 at 2048x256
TILE = 4096


def gelu_code(x: torch.Tensor, kind: Kind) -> torch.Tensor:
    """Return one byte for each element of x: its GELU derivative; `tanh` is the approximation of that name."""
    return (gelu_code_triton if is_on_triton(x) else gelu_code_reference)(x.contiguous(), kind)


def gelu_backward(grad: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    """Return grad times the derivative that the code stands for, in grad's dtype."""
    return (gelu_backward_triton if is_on_triton(code) else gelu_backward_reference)(grad.contiguous(), code)


def gelu_code_reference(x: torch.Tensor, kind: Kind) -> torch.Tensor:
    """Encode with torch operations alone; a NaN takes the code of a derivative of 0."""
    code = torch.empty(x.shape, dtype=torch.int8, device=x.device)
    if x.device.type != "cpu":
        code.copy_(_signed_code(x, kind))
    else:
        for part, out in zip(x.view(-1).split(CHUNK), code.view(-1).split(CHUNK)):
            out.copy_(_signed_code(part, kind))
    # A CPU converts to int8 five times as fast as to uint8 (0.03 against 0.14 ms at 2048x256); this is code - 128.
    return code.view(torch.uint8).bitwise_xor_(128)


def _signed_code(x: torch.Tensor, kind: Kind) -> torch.Tensor:
    limit = CLAMP[kind]
    u = x.float().clamp(-limit, limit).nan_to_num_(-limit)
    t = u * u
    *lower, highest = POWERS[kind]
    v = t * highest
    for power in reversed(lower[1:]):
        v.add_(power).mul_(t)
    return v.add_(lower[0]).mul_(u).sub_(0.5).round_()


def gelu_backward_reference(grad: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    """Multiply with torch operations alone."""
    return code.to(torch.float32).mul_(STEP).add_(LOWEST).mul_(grad).to(grad.dtype)


@jit
def _gelu_code_kernel(x_ptr, code_ptr, length, limit, c0, c1, c2, c3, c4, c5, c6, c7, TILE: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE).to(tl.int64)
    x = tl.load(x_ptr + at, mask=at < length, other=0.0).to(tl.float32)
    u = tl.minimum(tl.maximum(tl.where(x == x, x, -limit), -limit), limit)
    t = u * u
    v = t * c7
    v = (v + c6) * t
    v = (v + c5) * t
    v = (v + c4) * t
    v = (v + c3) * t
    v = (v + c2) * t
    v = (v + c1) * t
    v = (v + c0) * u - 0.5
    v = (v + 12582912.0) - 12582912.0  # to nearest even, as in int8_block
    tl.store(code_ptr + at, (v.to(tl.int32) + 128).to(tl.uint8), mask=at < length)


@jit
def _gelu_backward_kernel(grad_ptr, code_ptr, out_ptr, length, step, lowest, TILE: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE).to(tl.int64)
    grad = tl.load(grad_ptr + at, mask=at < length, other=0.0).to(tl.float32)
    code = tl.load(code_ptr + at, mask=at < length, other=0).to(tl.float32)
    out = grad * (code * step + lowest)
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask=at < length)


def gelu_code_triton(x: torch.Tensor, kind: Kind) -> torch.Tensor:
    """Encode in one launch."""
    code = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
    grid = (-(-x.numel() // TILE),)
    with torch.cuda.device_of(x):
        _gelu_code_kernel[grid](x, code, x.numel(), CLAMP[kind], *POWERS[kind], TILE, **LAUNCH)
    return code


def gelu_backward_triton(grad: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    """Multiply in one launch."""
    out = torch.empty_like(grad)
    grid = (-(-grad.numel() // TILE),)
    with torch.cuda.device_of(grad):
        _gelu_backward_kernel[grid](grad, code, out, grad.numel(), STEP, LOWEST, TILE, **LAUNCH)
    return out
