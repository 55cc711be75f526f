"""Count how an adapter does on examples; the objective makes scores of the counts.

evaluate(trainee, adapter, test, 0, 512, batch=128) + evaluate(trainee, adapter, test, 512, 1000, batch=128)
"""

from collections.abc import Sequence

import numpy as np
import torch

from fedquad.learn.batches import Batches
from fedquad.learn.configure import only_layers, set_head, set_lora
from fedquad.learn.loop import arithmetic
from fedquad.learn.model import Trainee
from fedquad.learn.tokens import Encoded
from fedquad.objective import Counts
from fedquad.types import Adapter


def evaluate(
    trainee: Trainee,
    adapter: Adapter,
    data: Encoded,
    start: int,
    stop: int,
    batch: int,
    present: Sequence[int] | None = None,
) -> Counts:
    """Count over examples `start` to `stop` ; all layers run (or those `present`), without LoRA where it has none."""
    total: Counts | None = None
    part = data.rows(np.arange(start, min(stop, len(data))))
    batches = Batches(part, trainee.device)
    order = np.argsort(part.lengths, kind="stable")  # batches of like length carry less padding
    layers = range(len(trainee.layers)) if present is None else present
    for layer in layers:
        set_lora(trainee, layer, adapter.layers.get(layer, {}))
    set_head(trainee, adapter.head)
    trainee.model.eval()
    with torch.no_grad(), arithmetic(trainee), only_layers(trainee, layers):
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            inputs = batches.at(rows, int(part.lengths[rows].max()))
            counted = Counts(trainee.practice.count(trainee.model, inputs, trainee.layout.labels))
            total = total + counted if total else counted
    if total is None:
        raise ValueError(f"there are no examples from {start} to {stop}")
    return total
