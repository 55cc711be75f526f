"""How far a frozen prefix has drifted: what two adapters' models make of a few examples above their lowest layers, one beside the other."""

import numpy as np
import torch

from fedquad.learn.batches import Batches
from fedquad.learn.configure import set_lora
from fedquad.learn.loop import arithmetic
from fedquad.learn.model import Trainee
from fedquad.learn.prefix import above
from fedquad.learn.tokens import Encoded
from fedquad.types import Adapter


def drift(trainee: Trainee, former: Adapter, adapter: Adapter, data: Encoded, layers: int) -> float:
    """The difference of both outputs above the lowest `layers`, over the size of the former's; padding is left out."""
    before, after = (_made(trainee, one, data, layers) for one in (former, adapter))
    return float((after - before).norm() / before.norm())


def _made(trainee: Trainee, adapter: Adapter, data: Encoded, layers: int) -> torch.Tensor:
    batch = Batches(data, trainee.device).at(np.arange(len(data)), int(data.lengths.max()))
    for layer in range(layers):
        set_lora(trainee, layer, adapter.layers.get(layer, {}))
    with arithmetic(trainee):
        x_BTH = above(trainee, range(layers), {name: tensor for name, tensor in batch.items() if name != "labels"})
    return x_BTH[batch["attention_mask"].bool()].double()
