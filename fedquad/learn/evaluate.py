"""Score an adapter on examples: accuracy and F1 from the confusion counts, loss from its sum.

evaluate(trainee, adapter, test, 0, 512, batch=128) + evaluate(trainee, adapter, test, 512, 1000, batch=128)
"""

from collections.abc import Sequence

import numpy as np
import torch

from fedquad.learn.batches import Batches, losses
from fedquad.learn.configure import only_layers, set_head, set_lora
from fedquad.learn.loop import arithmetic
from fedquad.learn.model import Trainee
from fedquad.learn.scores import Scores, accuracy, f1
from fedquad.learn.tokens import Encoded
from fedquad.types import Adapter

__all__ = ["Scores", "accuracy", "evaluate", "f1"]


def evaluate(
    trainee: Trainee,
    adapter: Adapter,
    data: Encoded,
    start: int,
    stop: int,
    batch: int,
    present: Sequence[int] | None = None,
) -> Scores:
    """Score examples `start` to `stop` ; all layers run (or those `present`), without LoRA where it has none."""
    labels = trainee.layout.labels
    confusion, loss_sum = np.zeros((labels, labels), np.int64), 0.0
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
            logits, each = losses(trainee, inputs)
            np.add.at(confusion, (part.labels[rows], logits.argmax(1).cpu().numpy()), 1)
            loss_sum += float(each.double().sum())
    return Scores(confusion=confusion, loss_sum=loss_sum)
