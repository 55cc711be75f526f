"""Let GELU keep a byte of its derivative for each element instead of its input (fedquad_kernels.gelu).

The forward is the module's own, so that the loss stays the same to the bit; the codes of the erf and of the tanh
formula differ, and every way of writing either formula has the same derivative. Other activations are left to the
hooks.
"""

from collections.abc import Callable
from typing import Any

import torch
from fedquad_kernels.gelu import Kind, gelu_backward, gelu_code
from torch import nn
from transformers import activations

Forward = Callable[[torch.Tensor], torch.Tensor]

TANH_FORMULAS = (
    activations.GELUTanh,
    activations.NewGELUActivation,
    activations.FastGELUActivation,
    activations.AccurateGELUActivation,
)


def gelu_kind(module: nn.Module) -> Kind | None:
    """Return which formula a module computes, or None if it is not a GELU whose derivative is known exactly."""
    if type(module) is nn.GELU:
        return "tanh" if module.approximate == "tanh" else "erf"
    if type(module) is activations.GELUActivation:
        return "erf"
    return "tanh" if type(module) in TANH_FORMULAS else None


class CodedGELU(torch.autograd.Function):
    """GELU that saves codes; `note` is told of input and codes before autograd is."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, original: Forward, kind: Kind, note: Any) -> torch.Tensor:
        """Compute the original's output."""
        code = gelu_code(x, kind)
        note(x, code)
        ctx.save_for_backward(code)
        return original(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """Multiply by the decoded derivative; its own derivative is not in the codes.

        `once_differentiable` would let a graph pass whose incoming gradient is constant, and drop that term unseen.
        """
        if torch.is_grad_enabled():
            raise RuntimeError(
                "a compressed GELU has no second derivative, and the backward pass was asked for one (create_graph); "
                'compress with coverage="paper", or not at all'
            )
        (code,) = ctx.saved_tensors
        return gelu_backward(grad, code), None, None, None
