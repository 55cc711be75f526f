"""What DeBERTa's disentangled attention keeps for nothing, told to the pack hook while its forward runs.

- `torch.gather` saves its input, (B h, s, 2 span), of which its backward reads only the shape: 40 % of a layer's bytes.
- Position keys and queries are repeated over the batch before their matrix product, which saves all the copies: 20 %.

Both are seen as operations, not as DeBERTa's source, and change neither values nor gradients.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class GatherAsShape(TorchFunctionMode):
    """Tell the recorder of gathers and of repeats along the first dimension."""

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
        if func is torch.gather:
            with self.recorder.shape_only(args[0]):
                return func(*args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        if func is torch.Tensor.repeat and is_outer_repeat(args):
            self.recorder.note_repeat(args[0], args[1], out)
        return out


def is_outer_repeat(args: Sequence[Any]) -> bool:
    """Say whether a call is x.repeat(n, 1, 1, ...) with n > 1 and as many numbers as dimensions."""
    base, *times = args
    is_plain = all(isinstance(count, int) for count in times) and len(times) == base.dim()
    return is_plain and times[0] > 1 and all(count == 1 for count in times[1:]) and base.is_contiguous()
