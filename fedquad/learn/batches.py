"""A shard of examples as batches on the model's device, in an order that belongs to the key."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fedquad import rng
from fedquad.learn.encoding import Arrays
from fedquad.learn.tokens import Encoded
from fedquad.spec import TrainingSpec
from fedquad.types import Ints

Batch = Mapping[str, torch.Tensor]


class Batches:
    """Batches of encoded examples; `take` goes through them epoch by epoch, each in another order."""

    def __init__(self, data: Encoded, device: torch.device) -> None:
        self.size = len(data)
        self.lengths = data.lengths
        self.width = data.input_ids.shape[1]
        arrays: Arrays = {"input_ids": data.input_ids, "attention_mask": data.attention_mask, "labels": data.labels}
        if data.token_type_ids is not None:
            arrays["token_type_ids"] = data.token_type_ids
        self.tensors = {name: _tensor(array).to(device) for name, array in arrays.items()}

    def take(self, steps: int, training: TrainingSpec, *key: int | str) -> Iterator[Batch]:
        """Yield `steps` batches; an epoch's last may be smaller."""
        for rows, width in self.draw(steps, training, *key):
            yield self.at(rows, width)

    def draw(self, steps: int, training: TrainingSpec, *key: int | str) -> Iterator[tuple[Ints, int]]:
        """Yield the rows of `steps` batches, and to how many tokens each is padded."""
        order: Ints = np.empty(0, np.int64)
        draw = rng.stream(*key)
        for _ in range(steps):
            if not len(order):
                order = draw.permutation(self.size)
            rows, order = order[: training.batch], order[training.batch :]
            yield rows, self.width if training.padding == "max" else int(self.lengths[rows].max())

    def at(self, rows: Ints, width: int) -> Batch:
        """The examples at `rows`, padded to `width` tokens."""
        at = torch.from_numpy(rows)
        picked = {name: tensor[at] for name, tensor in self.tensors.items()}
        return {name: tensor[:, :width] if tensor.ndim == 2 else tensor for name, tensor in picked.items()}


def _tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float32 if array.dtype.kind == "f" else np.int64))
