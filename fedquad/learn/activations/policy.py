"""What may be compressed among the tensors that autograd saves, and what must pass through untouched.

A tensor passes through when it is
- an integer or complex one, or a float of a width that the kernels do not know (float64);
- small: under 4096 elements neither the bytes nor the launch pay;
- a weight, or autocast's cast copy of a weight;
- a float that needs no gradient: statistics, random seeds and, above all, the attention mask that SDPA turns into 0 and
  -inf inside the operator; one -inf makes its whole block NaN, and so every gradient of the layer. The layer's own
  input is let in: the first trained layer's input needs no gradient, and LoRA keeps it all the same;
- expanded (a stride of 0): its bytes are few, and SDPA's backward insists on such strides.
"""

from typing import Any

import torch
from fedquad_kernels.backend import is_floating
from torch import nn

LEAST_ELEMENTS = 4096
NARROW = 32


def is_candidate(t: torch.Tensor) -> bool:
    """Say whether a tensor's kind and size allow compression."""
    return t.numel() >= LEAST_ELEMENTS and (t.dtype == torch.bool or is_floating(t.dtype))


def is_weight(t: torch.Tensor) -> bool:
    """Say whether a tensor is a parameter, a view of one, or autocast's cast copy of a trained one (or its view)."""
    base = t if t._base is None else t._base
    if isinstance(base, nn.Parameter):
        return True
    node: Any = base.grad_fn
    if node is None or node.name() != "ToCopyBackward0":
        return False
    return isinstance(getattr(node.next_functions[0][0], "variable", None), nn.Parameter)


def dense_run(t: torch.Tensor) -> torch.Tensor | None:
    """Return the memory behind a tensor as one contiguous tensor without autograd history, or None if it is not one.

    A transposed view is permuted back into the order of its strides, not copied. A slice of a fused projection stands
    for the whole projection, which is kept in any case as long as one slice is, and its sisters share the run.
    """
    run = t.detach()
    if run.is_contiguous():
        return run
    if 0 in run.stride():
        return None
    strides = run.stride()
    order = sorted(range(run.dim()), key=strides.__getitem__, reverse=True)
    run = run.permute(order)
    return run if run.is_contiguous() else _whole_storage(run)


def _whole_storage(run: torch.Tensor) -> torch.Tensor | None:
    length = run.untyped_storage().nbytes() // run.element_size()
    width = run.stride(-2) if run.dim() > 1 else length
    if run.numel() * 4 < length or width == 0 or length % width:
        return None
    return run.as_strided((length // width, width), (width, 1), 0)


def as_matrix(run: torch.Tensor) -> torch.Tensor:
    """Return a contiguous tensor as rows and columns: its last dimension, or 32 if blocks would be half empty."""
    cols = run.shape[-1]
    if cols < NARROW and run.numel() % NARROW == 0:
        return run.view(-1, NARROW)
    return run.view(-1, cols)
