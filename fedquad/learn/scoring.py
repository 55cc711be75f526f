"""What a model that only scores need not compute: LoRA's products apart from the frozen ones, and tokens that no classifier reads."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from fedquad.learn.activations.swap import Swaps
from fedquad.learn.model import ADAPTER, Trainee
from fedquad.learn.practice import CHUNK, READS_FIRST, of_first

MOST_BYTES = 1 << 26  # of weights held twice meanwhile; wider layers hardly notice their LoRA


@contextmanager
def scoring(trainee: Trainee, layers: Sequence[int]) -> Iterator[None]:
    """Have these layers, as they are set, score with fewer products until the block ends."""
    swaps, last = Swaps(), trainee.layers[layers[-1]]
    modules = [m for layer in layers for m in trainee.lora(layer).values() if not m.disable_adapters]
    weights = [module.base_layer.weight for module in modules]
    if trainee.dtype != torch.float32 or sum(w.numel() * w.element_size() for w in weights) > MOST_BYTES:
        modules, weights = [], []  # half precision would round what LoRA adds
    try:
        for module, weight in zip(modules, weights):
            a, b = module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight
            whole = torch.addmm(weight, b, a, alpha=module.scaling[ADAPTER])
            module.base_layer.weight = nn.Parameter(whole, requires_grad=False)
            module.enable_adapters(False)
        if trainee.practice.auto == READS_FIRST and hasattr(last, CHUNK):
            swaps.replace(last, CHUNK, of_first)
        yield
    finally:
        swaps.undo()
        for module, weight in zip(modules, weights):
            module.base_layer.weight = weight
            module.enable_adapters(True)
