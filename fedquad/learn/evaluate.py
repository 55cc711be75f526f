"""Count how an adapter does on examples; the objective makes scores of the counts.

evaluate(trainee, adapter, test, 0, 512, batch=128) + evaluate(trainee, adapter, test, 512, 1000, batch=128)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from fedquad.learn.batches import Batches
from fedquad.learn.configure import only_layers, set_head, set_lora
from fedquad.learn.loop import arithmetic
from fedquad.learn.model import Trainee
from fedquad.learn.prefix import Prefixes, is_untouched
from fedquad.learn.scoring import scoring
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
    prefix: int = 0,
    prefixes: Prefixes | None = None,
) -> Counts:
    """Count over examples `start` to `stop`; all layers run (or those `present`), without LoRA where it has none.

    What the lowest `prefix` layers make of an example is found or left in `prefixes`, as long as nobody has trained these.
    """
    total: Counts | None = None
    part = data.rows(np.arange(start, min(stop, len(data))))
    order = np.argsort(part.lengths, kind="stable")  # batches of like length carry less padding
    layers = tuple(range(len(trainee.layers)) if present is None else present)
    for layer in layers:
        set_lora(trainee, layer, adapter.layers.get(layer, {}))
    set_head(trainee, adapter.head)
    trainee.model.eval()
    reading = _batches(trainee, adapter, part, layers, prefix, prefixes)
    with torch.no_grad(), arithmetic(trainee), scoring(trainee, layers), reading as batches:
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            inputs = batches.at(rows, int(part.lengths[rows].max()))
            counted = Counts(trainee.practice.count(trainee.model, inputs, trainee.layout.labels))
            total = total + counted if total else counted
    if total is None:
        raise ValueError(f"there are no examples from {start} to {stop}")
    return total


@contextmanager
def _batches(
    trainee: Trainee, adapter: Adapter, part: Encoded, layers: tuple[int, ...], prefix: int, prefixes: Prefixes | None
) -> Iterator[Batches]:
    """The model with these layers, or from above its prefix on."""
    if (
        prefixes is None
        or not prefix
        or not all(is_untouched(adapter.layers.get(layer, {})) for layer in layers[:prefix])
    ):
        with only_layers(trainee, layers):
            yield Batches(part, trainee.device)
    else:
        with prefixes.entered(trainee, layers, prefix, adapter, part) as batches:
            yield batches
