"""What a device's frozen lower layers make of its examples, kept in INT8 so that they run once for each.

    kept = Prefixes(most_bytes=256 << 20)
    with kept.entered(trainee, present, prefix, below, data) as batches:   # a Batches whose `at` also lays the prefix's output ready
        for batch in batches.take(...): ...                               # and the model begins above the prefix

Each example goes through the prefix alone, at its own length and without dropout, and is coded whether or not it will be found
again: what a step reads depends on the example and on what lies below, never on its batch or on what was kept. So a process that
lost everything comes to the same bits. Entries are keyed by just these two; the least recently used goes first.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from fedquad.learn.batches import Batch, Batches
from fedquad.learn.configure import only_layers
from fedquad.learn.model import Trainee
from fedquad.learn.tokens import Encoded
from fedquad.rounds import adapters
from fedquad.types import Adapter, Ints, Lora


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One example above the prefix: codes and their scales, or the values themselves."""

    codes: torch.Tensor
    scales: torch.Tensor | None

    @property
    def bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.codes, self.scales) if t is not None)

    def values(self, dtype: torch.dtype) -> torch.Tensor:
        if self.scales is None:
            return self.codes
        from fedquad_kernels.int8_block import block_dequantize  # and with it triton, 2 s

        return block_dequantize(self.codes, self.scales, dtype)


class Prefixes:
    """Entries of any devices and models, bounded in bytes; these in memory, others in files (prefix_files.py)."""

    def __init__(self, most_bytes: int, is_coded: bool = True) -> None:
        self.most_bytes = most_bytes
        self.is_coded = is_coded
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    @contextmanager
    def entered(
        self, trainee: Trainee, present: Sequence[int], prefix: int, below: Adapter, data: Encoded
    ) -> Iterator[Batches]:
        """Let the configured model begin above the lowest `prefix` of the present layers, whose LoRA is `below`."""
        batches = _FromPrefix(self, trainee, tuple(present[:prefix]), _digest(trainee, present[:prefix], below), data)
        with only_layers(trainee, present[prefix:], first=batches.entrance):
            yield batches

    def find(self, key: str) -> Entry | None:
        if found := self._entries.get(key):
            self._entries.move_to_end(key)
        self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
        return found

    def keep(self, key: str, x_TH: torch.Tensor) -> Entry:
        """Code one example's values, and hold on to them while there is room."""
        entry = Entry(x_TH, None)
        if self.is_coded:
            from fedquad_kernels.int8_block import block_quantize

            entry = Entry(*block_quantize(x_TH))
        self._hold(key, entry)
        return entry

    def _hold(self, key: str, entry: Entry) -> None:
        if entry.bytes <= self.most_bytes:
            self._entries[key] = entry
            self.bytes += entry.bytes
        while self.bytes > self.most_bytes:
            self.bytes -= self._entries.popitem(last=False)[1].bytes


class _FromPrefix(Batches):
    """Batches that lay ready what the prefix makes of them."""

    def __init__(self, kept: Prefixes, trainee: Trainee, below: tuple[int, ...], digest: str, data: Encoded) -> None:
        super().__init__(data, trainee.device)
        self.kept, self.trainee, self.below, self.digest = kept, trainee, below, digest
        self.entrance = _Entrance(trainee.layers[below[0]])

    def at(self, rows: Ints, width: int) -> Batch:
        """The examples at `rows`; the model's next forward begins with what the prefix makes of them."""
        each = [self._one(int(row)) for row in rows]
        x_BTH = torch.zeros(len(each), width, each[0].shape[-1], dtype=each[0].dtype, device=each[0].device)
        for place, x_TH in zip(x_BTH, each):
            place[: len(x_TH)] = x_TH
        self.entrance.x_BTH = x_BTH
        return super().at(rows, width)

    def _one(self, row: int) -> torch.Tensor:
        example = super().at(np.array([row]), int(self.lengths[row]))
        inputs = {name: tensor for name, tensor in example.items() if name != "labels"}
        sha = hashlib.sha256(self.digest.encode())
        for name in sorted(inputs):
            sha.update(inputs[name].cpu().numpy().tobytes())
        key = sha.hexdigest()
        entry = self.kept.find(key) or self.kept.keep(key, above(self.trainee, self.below, inputs)[0].contiguous())
        return entry.values(self.trainee.dtype)


def above(trainee: Trainee, below: Sequence[int], inputs: Batch) -> torch.Tensor:
    """What these layers, the lowest of the model, make of a batch without dropout."""
    *others, last = below
    watched, was_training = _Exit(trainee.layers[last]), trainee.model.training
    trainee.model.eval()
    try:
        with torch.no_grad(), only_layers(trainee, others, last=watched):
            trainee.model.base_model(**inputs)  # type: ignore[operator]
    finally:
        trainee.model.train(was_training)
    return watched.x_BTH


class _Layer(nn.Module):
    """Stands where a transformer layer stood, and says of itself what that one does."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)  # models ask a layer for its kind of attention


class _Exit(_Layer):
    """Notes what the layer returns."""

    x_BTH: torch.Tensor

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        out = self.layer(*args, **kwargs)
        self.x_BTH = out[0] if isinstance(out, tuple) else out
        return out


class _Entrance(_Layer):
    """Gives what lies ready, whatever it is given."""

    x_BTH: torch.Tensor

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return (self.x_BTH, None) if _returns_tuple(self.layer) else self.x_BTH


def _returns_tuple(layer: nn.Module) -> bool:
    """DeBERTa's layers return their attention beside the values; the others' return the values."""
    return type(layer).__name__.startswith("Deberta")


def is_untouched(lora: Mapping[str, Lora]) -> bool:
    """Whether a layer's LoRA changes nothing, as before its first training."""
    return not any(pair.b.any() for pair in lora.values())


def _digest(trainee: Trainee, below: Sequence[int], adapter: Adapter) -> str:
    """Of all that the prefix's output depends on beside the example; what LoRA changes nothing is the same for all seeds."""
    layers = {layer: adapter.layers[layer] for layer in below if not is_untouched(adapter.layers.get(layer, {}))}
    ranks = [(layer, {pair.rank for pair in lora.values()}) for layer, lora in layers.items()]
    spec = trainee.spec
    told = (trainee.layout.digest, tuple(below), ranks, spec.alpha, spec.rank, spec.precision, spec.attention)
    return hashlib.sha256(f"{told}{adapters.digest(Adapter(layers=layers, head={}))}".encode()).hexdigest()
