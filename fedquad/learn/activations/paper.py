"""Compress only what the paper's implementation did: what GELU, matrix products, Softmax and LayerNorm save.

LoRA's own inputs (linear layers) and dropout's masks stay as they are, GELU keeps its input in INT8.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

COVERED = {
    F.gelu,
    F.layer_norm,
    F.softmax,
    F.scaled_dot_product_attention,
    torch.softmax,
    torch.matmul,
    torch.bmm,
    torch.baddbmm,
    torch.Tensor.softmax,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
    torch.Tensor.bmm,
}


class PaperOperators(TorchFunctionMode):
    """Tell the recorder when one of the paper's operators runs."""

    def __init__(self, recorder: Any) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.recorder.is_covered = func in COVERED
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.recorder.is_covered = False
