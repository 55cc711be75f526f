"""The pack and unpack hooks of one layer's forward pass.

    pack:    tensor -> run of memory -> payload (each run once) -> View        unpack: View -> payload -> tensor

Runs are recognised by storage, offset, length, dtype and version, with a weak reference that keeps the storage's
address from being used again; shape and strides belong to each view, so that a transposed second view comes back
transposed.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import ref

import torch
from torch import nn

from fedquad.learn.activations.accounting import SavedBytes, hold_address
from fedquad.learn.activations.paper import PaperOperators
from fedquad.learn.activations.payloads import (
    Activated,
    Bits,
    Block,
    Exact,
    Normalized,
    Packed,
    Payload,
    Repeated,
    ShapeOnly,
    View,
)
from fedquad.learn.activations.policy import dense_run, is_candidate, is_weight
from fedquad.learn.activations.shared import Key, Norms, Shared, key_of
from fedquad.learn.activations.slab import LateBlock, LayerSlab


def unpack(packed: Packed) -> torch.Tensor:
    """Return the tensor for the backward pass; it may run on autograd's own thread."""
    return packed.restore()


class Recorder:
    """What one layer saves in one forward pass."""

    def __init__(self, shared: Shared, hidden: torch.Tensor, is_deferred: bool) -> None:
        self.shared = shared
        self.input = hidden.untyped_storage()._cdata
        self.slab = LayerSlab() if is_deferred else None
        self.memo: dict[Key, tuple[object, Payload]] = {}
        self.norms: Norms = {}
        self.activated: dict[Key, tuple[object, ref[Payload], torch.Size]] = {}  # outputs of SiLU
        self.is_covered = shared.coverage == "full"
        self.gathered: int | None = None
        self.ours: set[int] = set()
        self.biases = 0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Save through these hooks inside the block, then pack what was deferred."""
        paper = nullcontext() if self.shared.coverage == "full" else PaperOperators(self)
        kept, plain = self.shared.kept.bytes, self.shared.plain.bytes
        try:
            with torch.autograd.graph.saved_tensors_hooks(self.pack, unpack), paper:
                yield
            if self.slab is not None:
                self.slab.close()
        finally:
            self.memo, self.activated = {}, {}  # the graph holds the hooks, and with them this recorder
        self.shared.norms = self.norms
        self.saved = SavedBytes(
            kept_bytes=self.shared.kept.bytes - kept, uncompressed_bytes=self.shared.plain.bytes - plain
        )

    def pack(self, t: torch.Tensor) -> Packed:
        """Return what is kept of a tensor that autograd saves."""
        if not is_candidate(t) or not self.is_covered:
            return self._exact(t)
        storage = t.untyped_storage()
        if storage._cdata == self.gathered:
            self.shared.plain.charge(t)
            return ShapeOnly(t.new_zeros(()), t.shape)
        run = dense_run(t)
        if run is None:
            return self._exact(t)
        key = key_of(run)
        found = self.memo.get(key)
        payload = found[1] if found else self._new_payload(t, run, key)
        if payload is None:
            return self._exact(t)
        self.shared.plain.charge(t)
        payload.claim()
        return View(payload, t.shape, t.stride(), int(t.storage_offset() - run.storage_offset()))

    def _new_payload(self, t: torch.Tensor, run: torch.Tensor, key: Key) -> Payload | None:
        payload: Payload | None = self._normalized(key) or self._activated(key)
        if payload is None:
            is_open = t.dtype == torch.bool or t.requires_grad or key[0] == self.input
            if not is_open or is_weight(t) or (t.dtype == torch.bool and self.shared.coverage == "paper"):
                return None
            payload = self._compress(run)
        self._remember(key, run, payload)
        self.shared.kept.bytes += payload.kept_bytes
        return payload

    def _compress(self, run: torch.Tensor) -> Payload:
        if self.slab is not None:
            return self.slab.add(run)
        return Bits(run) if run.dtype == torch.bool else Block(run)

    def _remember(self, key: Key, run: torch.Tensor, payload: Payload) -> None:
        self.memo[key] = hold_address(run), payload

    def _exact(self, t: torch.Tensor) -> Packed:
        if not is_weight(t):
            self._charge(t)
        return Exact(t.detach() if t.requires_grad else t, t._version)

    def _charge(self, t: torch.Tensor) -> None:
        self.shared.kept.charge(t)
        storage = t.untyped_storage()
        if storage._cdata in self.ours:
            return
        bias = self.shared.bias.bias
        if bias is None or storage._cdata != bias.untyped_storage()._cdata:
            self.shared.plain.charge(t)
        elif not self.biases:  # without us, each layer would have made its own
            self.biases = storage.nbytes()
            self.shared.plain.bytes += self.biases

    def is_innermost(self) -> bool:
        """Say whether these hooks are the ones that run: those of a checkpoint inside the layer come before."""
        top = torch._C._autograd._top_saved_tensors_default_hooks(True)
        return top is not None and top[0] == self.pack

    def note_gelu(self, x: torch.Tensor, code: torch.Tensor) -> None:
        """Take note that codes are about to be saved in place of GELU's input."""
        self.shared.plain.charge(x)
        self.ours.add(code.untyped_storage()._cdata)

    def note_silu(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Take note that SiLU's output can be had from its input, if that was saved compressed."""
        if not (y.numel() and x.is_contiguous() and y.is_contiguous()):
            return
        source = self.memo.get(key_of(x))
        if source is not None and isinstance(source[1], Block | LateBlock):
            self.activated[key_of(y)] = hold_address(y), ref(source[1]), x.shape

    def _activated(self, key: Key) -> Payload | None:
        found = self.activated.get(key)
        source = found[1]() if found else None
        return Activated(source, found[2]) if found and source is not None else None

    def note_norm(self, norm: nn.LayerNorm, x: torch.Tensor, y: torch.Tensor) -> None:
        """Take note that a LayerNorm's output can be had from its input, if that was saved compressed."""
        if not (y.numel() and x.dtype == y.dtype and x.is_contiguous() and y.is_contiguous()):
            return
        source = self.memo.get(key_of(x))
        if source is None or not isinstance(source[1], Block | LateBlock):
            return
        self.norms[key_of(y)] = hold_address(y), ref(source[1]), norm, x.shape

    def _normalized(self, key: Key) -> Payload | None:
        found = self.norms.get(key) or self.shared.norms.get(key)
        source = found[1]() if found else None
        return Normalized(source, found[2], found[3]) if found and source is not None else None

    def note_repeat(self, base: torch.Tensor, times: int, out: torch.Tensor) -> None:
        """Take note that a tensor is so many copies of another."""
        if is_candidate(out) and out.dtype != torch.bool:
            self._remember(key_of(out), out, Repeated(base, times, self.shared.kept.charge))

    @contextmanager
    def shape_only(self, t: Any) -> Iterator[None]:
        """Keep only the shape of this tensor if it is saved inside the block."""
        self.gathered = t.untyped_storage()._cdata
        try:
            yield
        finally:
            self.gathered = None
