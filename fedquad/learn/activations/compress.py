"""Train a transformer's layers with the activations they save kept in INT8.

    with compress(model, layers=[6, 7, 8]):
        loss = model(**batch).loss
        loss.backward()

The forward pass is untouched, and so is the loss, bit for bit; what changes is what autograd keeps between forward and
backward, about a quarter of it in fp32. Works on any Hugging Face transformer, wrapped by PEFT or not, in any training
loop that runs eagerly in one process a device.
"""

from collections.abc import Callable, Iterable
from functools import partial, wraps
from types import TracebackType
from typing import Any

import torch
from fedquad_kernels.backend import is_on_triton
from torch import nn
from transformers import activations

from fedquad.learn.activations.accounting import SavedBytes
from fedquad.learn.activations.bias import find_attention, with_shared_bias
from fedquad.learn.activations.gather import GatherAsShape
from fedquad.learn.activations.gelu import CodedGELU, gelu_kind
from fedquad.learn.activations.hooks import Recorder
from fedquad.learn.activations.policy import is_candidate
from fedquad.learn.activations.shared import Shared
from fedquad.learn.activations.swap import Swaps
from fedquad.learn.layers import find_layers
from fedquad.spec import Coverage

Method = Callable[..., Any]
SILU = (nn.SiLU, activations.SiLUActivation) if hasattr(activations, "SiLUActivation") else (nn.SiLU,)
DISENTANGLED = "disentangled_attention_bias"  # DeBERTa's, v1 and v2


def compress(model: nn.Module, layers: Iterable[int], coverage: Coverage = "full") -> "Compression":
    """Keep what these transformer layers save for the backward pass in INT8, until the handle is closed.

    `layers` counts from the input, 0 first. `coverage="paper"` compresses what FedQuad's paper did and no more.
    """
    return Compression(model, layers, coverage)


class Compression:
    """Compression that is open on a model; a context manager, or closed by hand."""

    def __init__(
        self, model: nn.Module, layers: Iterable[int], coverage: Coverage = "full", deferred: bool | None = None
    ) -> None:
        if coverage not in ("full", "paper"):
            raise ValueError(f"coverage {coverage!r} is unknown; use 'full' or 'paper'")
        self.shared, self.deferred = Shared(coverage), deferred
        self.recorder: Recorder | None = None
        self._saved: dict[int, SavedBytes] = {}
        self._swaps = Swaps()
        chosen = _choose(model, layers)
        try:
            for index, layer in chosen.items():
                self._open(index, layer)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Compression":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the model as it was found; graphs recorded before stay valid. Closing again does nothing."""
        self._swaps.undo()
        self.shared.forget()

    def saved_bytes(self) -> dict[int, SavedBytes]:
        """Return, for each layer of the last forward pass, what it kept and what it would have kept.

        A storage that several layers keep counts for the first of them.
        """
        return dict(self._saved)

    def is_deferred(self, x: torch.Tensor) -> bool:
        """Say whether a layer packs at its end, in one launch; a CPU would only hold the originals longer."""
        return is_on_triton(x) if self.deferred is None else self.deferred

    def _open(self, index: int, layer: nn.Module) -> None:
        self._swaps.replace(layer, "forward", partial(self._recorded, index, layer))
        if self.shared.coverage == "paper":
            return
        for module in layer.modules():
            if gelu_kind(module) is not None:
                self._swaps.replace(module, "forward", partial(self._coded, module))
            elif type(module) is nn.LayerNorm:
                self._swaps.replace(module, "forward", partial(self._noted, module))
            elif type(module) in SILU:
                self._swaps.replace(module, "forward", self._silu)
            elif hasattr(module, DISENTANGLED):
                self._swaps.replace(module, DISENTANGLED, self._watched)

    def _recorded(self, index: int, layer: nn.Module, forward: Method) -> Method:
        attention = find_attention(layer) if self.shared.coverage == "full" else None

        @wraps(forward)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            hidden = args[0] if args else kwargs.get("hidden_states")
            if torch.compiler.is_compiling():
                raise RuntimeError(_refusal(f"layer {index}"))
            # A checkpointed layer keeps its input alone, and its recomputation must save what its forward did.
            is_checkpointed = getattr(layer, "gradient_checkpointing", False) and layer.training
            if not torch.is_grad_enabled() or is_checkpointed or not isinstance(hidden, torch.Tensor):
                return forward(*args, **kwargs)
            if not self._saved or index <= max(self._saved):  # a new forward pass
                self._saved = {}
                self.shared.begin()
            args, kwargs = with_shared_bias(self.shared.bias, attention, hidden, args, kwargs)
            outer, self.recorder = self.recorder, Recorder(self.shared, hidden, self.is_deferred(hidden))
            recorder = self.recorder
            try:
                with recorder.recording():
                    out = forward(*args, **kwargs)
            finally:
                self.recorder = outer
            self._saved[index] = recorder.saved
            return out

        recorded.__dict__["compression"] = self
        return recorded

    def _coded(self, module: nn.Module, forward: Method) -> Method:
        kind = gelu_kind(module)
        assert kind is not None

        @wraps(forward)
        def coded(x: torch.Tensor) -> Any:
            recorder = self.recorder
            if recorder is None or not (x.requires_grad and is_candidate(x) and recorder.is_innermost()):
                return forward(x)
            return CodedGELU.apply(x, forward, kind, recorder.note_gelu)  # type: ignore[no-untyped-call]

        return coded

    def _noted(self, module: nn.LayerNorm, forward: Method) -> Method:
        @wraps(forward)
        def noted(x: torch.Tensor) -> Any:
            y = forward(x)
            if self.recorder is not None:
                self.recorder.note_norm(module, x, y)
            return y

        return noted

    def _silu(self, forward: Method) -> Method:
        @wraps(forward)
        def noted(x: torch.Tensor) -> Any:
            y = forward(x)
            if self.recorder is not None:
                self.recorder.note_silu(x, y)
            return y

        return noted

    def _watched(self, forward: Method) -> Method:
        @wraps(forward)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if self.recorder is None:
                return forward(*args, **kwargs)
            with GatherAsShape(self.recorder):
                return forward(*args, **kwargs)

        return watched


def _choose(model: nn.Module, layers: Iterable[int]) -> dict[int, nn.Module]:
    """Return the chosen layers by index, refusing what cannot be compressed."""
    compiled = [module for module in model.modules() if _is_compiled(module)]
    try:
        blocks = find_layers(model)
    except ValueError:
        if compiled:  # among plain layers a compiled one is of another type, and no list is of one kind
            raise ValueError(_refusal(f"a part of {type(model).__name__}")) from None
        raise
    indices = sorted(set(layers))
    if indices and not 0 <= indices[0] <= indices[-1] < len(blocks):
        raise ValueError(f"layers {indices} are not all among the model's 0 to {len(blocks) - 1}")
    chosen = {index: blocks[index] for index in indices}
    for index, layer in chosen.items():
        inner = set(layer.modules())
        if any(module in inner or layer in set(module.modules()) for module in compiled):
            raise ValueError(_refusal(f"layer {index}"))
        if hasattr(layer.__dict__.get("forward"), "compression"):
            raise ValueError(f"layer {index} is compressed already; close the other handle first")
    return chosen


def _is_compiled(module: nn.Module) -> bool:
    return isinstance(module, torch._dynamo.OptimizedModule) or module._compiled_call_impl is not None


def _refusal(what: str) -> str:
    return (
        f"{what} is compiled by torch.compile, whose own partitioner decides what is saved and unpacks it all at once, "
        f"so that nothing would be spared; compress the model uncompiled"
    )
