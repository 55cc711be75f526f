"""What can be done to an adapter without a model: make the initial one, cut it to an assignment, name its tensors, digest it.

Every adapter that is stored, sent or merged is in one unit: its scale is alpha/r0, r0 the campaign's rank, whatever its own rank. So
the first rows of A and columns of B are the same function at a lower rank, a padded one changes nothing, and rows add up. A device
trains in the unit of its own rank (learn/model.py), so that rank is no learning rate.
"""

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

from fedquad import rng
from fedquad.types import Adapter, Array32, Assignment, Lora, ModelLayout


def initial(layout: ModelLayout, rank: int, seed: int) -> Adapter:
    """Draw the adapter all methods of a seed start from: A uniform as peft draws it, B zero, a fresh head.

    Row j of A depends on the seed and j alone, so that arms of different ranks share their common rows. Targets and head are in
    order of name, as they come back from disk: who draws along them must draw the same after a resume.
    """
    layers = {
        layer: {
            target: _initial_pair(rng.stream(seed, "adapter", layer, target), rank, inputs, outputs)
            for target, (inputs, outputs) in sorted(layout.targets.items())
        }
        for layer in range(layout.shape.layers)
    }
    head = {name: _initial_head(seed, name, shape, layout.head_std) for name, shape in sorted(layout.head.items())}
    return Adapter(layers=layers, head=head)


def _initial_pair(stream: np.random.Generator, rank: int, inputs: int, outputs: int) -> Lora:
    bound = 1 / np.sqrt(inputs)
    a = stream.uniform(-bound, bound, size=(rank, inputs)).astype(np.float32)
    return Lora(freeze(a), freeze(np.zeros((outputs, rank), np.float32)))


def _initial_head(seed: int, name: str, shape: tuple[int, ...], std: float) -> Array32:
    if len(shape) < 2:
        return freeze(np.zeros(shape, np.float32))
    return freeze(rng.stream(seed, "head", name).normal(0, std, size=shape).astype(np.float32))


def freeze(array: Array32) -> Array32:
    """Make an array read-only; adapters are shared, never copied."""
    array.flags.writeable = False
    return array


def cut(adapter: Adapter, layers: Iterable[int], ranks: Iterable[int]) -> Adapter:
    """The adapter at the given layers, each at the given rank (its first rows of A and columns of B)."""
    return Adapter(
        layers={
            layer: {
                target: Lora(
                    freeze(np.ascontiguousarray(pair.a[:rank])), freeze(np.ascontiguousarray(pair.b[:, :rank]))
                )
                for target, pair in adapter.layers[layer].items()
            }
            for layer, rank in zip(layers, ranks)
        },
        head=adapter.head,
    )


def for_assignment(adapter: Adapter, assignment: Assignment) -> Adapter:
    """What a device starts from unless its method says otherwise: the global adapter at its layers and ranks."""
    return cut(adapter, assignment.present, assignment.ranks)


def ranks(adapter: Adapter) -> dict[int, int]:
    """The rank of each layer's LoRA (the targets of one layer share it)."""
    return {layer: next(iter(pairs.values())).rank for layer, pairs in adapter.layers.items() if pairs}


def flatten(adapter: Adapter) -> dict[str, Array32]:
    """Name every tensor: `layers.7.attention.self.query.a`, `head.classifier.dense.weight`; sorted."""
    named = {f"head.{name}": array for name, array in adapter.head.items()}
    for layer, pairs in adapter.layers.items():
        for target, pair in pairs.items():
            named[f"layers.{layer}.{target}.a"] = pair.a
            named[f"layers.{layer}.{target}.b"] = pair.b
    return dict(sorted(named.items()))


def unflatten(tensors: Mapping[str, Array32]) -> Adapter:
    """The inverse of `flatten`; refuses names that it would not have written."""
    head: dict[str, Array32] = {}
    pairs: dict[int, dict[str, dict[str, Array32]]] = {}
    for name, array in sorted(tensors.items()):
        kind, _, rest = name.partition(".")
        if kind == "head" and rest:
            head[rest] = freeze(array)
            continue
        layer, _, path = rest.partition(".")
        target, _, factor = path.rpartition(".")
        if kind != "layers" or not layer.isdigit() or not target or factor not in ("a", "b"):
            raise ValueError(f"{name!r} is not the name of an adapter's tensor")
        pairs.setdefault(int(layer), {}).setdefault(target, {})[factor] = freeze(array)
    return Adapter(layers=paired(pairs), head=head)


def paired(factors: Mapping[int, Mapping[str, Mapping[str, Array32]]]) -> dict[int, dict[str, Lora]]:
    """Layers of LoRA pairs from factors by layer, target and "a" or "b"; half a pair is refused."""
    layers: dict[int, dict[str, Lora]] = {}
    for layer, targets in sorted(factors.items()):
        for target, pair in targets.items():
            if len(pair) != 2:
                raise ValueError(f"layer {layer}, {target} has only factor {next(iter(pair))!r}: a LoRA pair has two")
            layers.setdefault(layer, {})[target] = Lora(pair["a"], pair["b"])
    return layers


def tensors_digest(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in order of name."""
    sha = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        sha.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def digest(adapter: Adapter) -> str:
    return tensors_digest(flatten(adapter))
