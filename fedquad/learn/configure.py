"""Put a loaded model into an assignment, in milliseconds and without reloading it, and back.

    with configure(trainee, assignment, adapter) as learning:
        loss.backward()                 # reaches learning.layers and learning.head, and nothing else
    # here the model has all its layers again, and nothing learns

Absent layers leave the model's own list, so they cost neither forward nor backward. Layers below the lowest trained
one hold nothing that requires a gradient, so autograd records nothing there. Every LoRA tensor of a present layer is
set anew, so that what the model was before does not matter.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from fedquad.errors import DeviceError
from fedquad.learn.model import ADAPTER, Trainee
from fedquad.types import Adapter, Array32, Assignment, Lora


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learning:
    """The parameters that learn under an assignment; each layer has equally many, A before B."""

    layers: Mapping[int, tuple[nn.Parameter, ...]]
    head: Mapping[str, nn.Parameter]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [*(p for pair in self.layers.values() for p in pair), *self.head.values()]


@contextmanager
def configure(trainee: Trainee, assignment: Assignment, adapter: Adapter) -> Iterator[Learning]:
    """Give the model the assignment's layers, adapter, ranks and INT8 layers, and yield what learns."""
    check(trainee, assignment, adapter)
    trainee.model.requires_grad_(False)
    for layer, rank in zip(assignment.present, assignment.ranks):
        set_lora(trainee, layer, adapter.layers.get(layer, {}), rank)
    set_head(trainee, adapter.head)
    with _compressed(trainee, assignment.quantized), only_layers(trainee, assignment.present):
        try:
            yield _learning(trainee, assignment)
        finally:
            trainee.model.requires_grad_(False)


def check(trainee: Trainee, assignment: Assignment, adapter: Adapter) -> None:
    """Refuse what this model cannot be put into."""
    known = set(range(trainee.layout.shape.layers))
    present, inner = set(assignment.present), {*assignment.trained, *assignment.quantized}
    if (
        not assignment.present
        or not present <= known
        or not inner <= present
        or sorted(present) != list(assignment.present)
    ):
        raise DeviceError(
            f"device {assignment.device} was assigned layers {list(assignment.present)} (trained "
            f"{list(assignment.trained)}, quantized {list(assignment.quantized)}), but the model has layers 0 to "
            f"{max(known)}, in ascending order, and what is trained or quantized must be present"
        )
    if len(assignment.ranks) != len(assignment.present):
        raise DeviceError(
            f"device {assignment.device} was assigned {len(assignment.ranks)} ranks for {len(present)} present layers"
        )
    for layer in assignment.trained:
        if not set(trainee.layout.targets) <= set(adapter.layers.get(layer, {})) or assignment.rank_of(layer) < 1:
            raise DeviceError(
                f"device {assignment.device} was assigned to train layer {layer} at rank {assignment.rank_of(layer)}, but "
                f"the adapter sent has layers {sorted(adapter.layers)}, and training needs a rank of at least 1"
            )


def set_lora(trainee: Trainee, layer: int, pairs: Mapping[str, Lora], rank: int | None = None) -> None:
    """Set a layer's LoRA, cut to `rank` if it is greater; a layer without pairs runs without LoRA."""
    for target, module in trainee.lora(layer).items():
        pair = pairs.get(target)
        rank_here = 0 if pair is None else pair.rank if rank is None else rank
        module.enable_adapters(rank_here > 0)
        if pair is None or not rank_here:
            continue
        if rank_here > pair.rank:
            raise DeviceError(
                f"layer {layer}, {target}: rank {rank_here} was assigned, but the adapter sent has rank {pair.rank}"
            )
        unit = trainee.unit(rank_here)
        module.scaling[ADAPTER] = trainee.spec.alpha / trainee.spec.rank / unit
        _set(trainee, module.lora_A[ADAPTER], pair.a[:rank_here])
        _set(trainee, module.lora_B[ADAPTER], np.float32(unit) * pair.b[:, :rank_here])


def _set(trainee: Trainee, linear: Any, values: Array32) -> None:
    if (values.shape[1], values.shape[0]) != (linear.in_features, linear.out_features):
        linear.out_features, linear.in_features = values.shape
    linear.weight = nn.Parameter(_tensor(trainee, values), requires_grad=False)


def set_head(trainee: Trainee, head: Mapping[str, Array32]) -> None:
    """Set the head's parameters; the adapter holds all of them."""
    parameters = trainee.head
    if set(head) != set(parameters):
        raise DeviceError(f"the adapter's head holds {sorted(head)}, but this model's is {sorted(parameters)}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(_tensor(trainee, head[name]))


def _tensor(trainee: Trainee, values: Array32) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(values), dtype=trainee.dtype, device=trainee.device)


@contextmanager
def only_layers(
    trainee: Trainee, present: Sequence[int], first: nn.Module | None = None, last: nn.Module | None = None
) -> Iterator[None]:
    """Take the other layers out of the model's own list meanwhile, and put these before and after the rest."""
    path, _, name = trainee.layout.layer_path.rpartition(".")
    parent = trainee.model.get_submodule(path)
    whole = getattr(parent, name)
    if len(present) < len(trainee.layers):
        around = ([first] if first else []), ([last] if last else [])
        setattr(parent, name, nn.ModuleList([*around[0], *(trainee.layers[layer] for layer in present), *around[1]]))
    try:
        yield
    finally:
        setattr(parent, name, whole)


def _compressed(trainee: Trainee, quantized: Sequence[int]) -> Any:
    if not quantized:
        return nullcontext()
    from fedquad.learn.activations.compress import compress  # and with it transformers and triton, 2 s

    return compress(trainee.model, layers=quantized, coverage=trainee.spec.coverage)


def _learning(trainee: Trainee, assignment: Assignment) -> Learning:
    layers: dict[int, tuple[nn.Parameter, ...]] = {}
    for layer in assignment.trained:
        modules = [module for module in trainee.lora(layer).values() if not module.disable_adapters]
        layers[layer] = tuple(pair[ADAPTER].weight for module in modules for pair in (module.lora_A, module.lora_B))
    learning = Learning(layers=layers, head=trainee.head)
    for parameter in learning.parameters:
        parameter.requires_grad_(True)
    return learning
