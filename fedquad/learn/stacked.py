"""One model with the rows of several devices in it: the frozen weights meet all of them at once, LoRA and head are each one's own.

    with stacked(works) as stack:
        for seen, batch in stack.forward(batches):           # one forward for all
            loss = trainee.practice.loss(seen, batch)        # as if the device were alone

Devices stand in the order of the layer at which their training starts, deepest first, with equally many rows each. Below that
layer a device's rows go through the frozen ones beside others', without a graph; from it on beside those that train. A layer of
BERT's kind is computed in one piece on a CPU, and padding goes through none (stacked_layer.py); others as their modules have it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from fedquad.learn.activations.swap import Swaps
from fedquad.learn.batches import Batch
from fedquad.learn.configure import only_layers
from fedquad.learn.keeps import Keeps, kept
from fedquad.learn.model import ADAPTER
from fedquad.learn.optimizer import gradients
from fedquad.learn.packed import LANES, MODELS, Packing
from fedquad.learn.practice import CHUNK, READS_FIRST, of_first
from fedquad.learn.stacked_attention import attending, drops_attention
from fedquad.learn.stacked_layer import Layer
from fedquad.learn.stacked_lora import Site, StackedLora
from fedquad.learn.work import Work, sent_pair

Method = Callable[..., Any]


class Stack:
    """Devices side by side in a model, and what they learn."""

    def __init__(self, works: Sequence[Work]) -> None:
        self.works, self.trainee = works, works[0].trainee
        self.present = works[0].assignment.present
        self.starts = [min(work.assignment.trained, default=len(self.trainee.layers)) for work in works]
        self.layers = tuple(sorted({layer for work in works for layer in work.assignment.trained}))
        self.keeps = [Keeps(work.key) for work in works]
        # A, then B', of each target of each layer that learns; then the head's; and their float32 originals
        self.parameters: list[nn.Parameter] = []
        self.values: list[torch.Tensor] = []
        self.sites = {(layer, t): self._site(layer, t) for layer in self.present for t in self.trainee.layout.targets}
        self.head = {
            name: self._learning(self._all([w.adapter.head[name] for w in works])) for name in self.trainee.head
        }
        self.part = slice(0, len(works))  # whose rows the modules see
        self.active: torch.Tensor | None = None  # rows of those that train by now
        self.resting: torch.Tensor | None = None  # rows of those that do not yet
        self.sizes: list[tuple[int, int]] = []  # rows and tokens of each device's own batch
        self.rows, self.width = 0, 0  # of each in the stack
        config: Any = self.trainee.model.config
        is_alike = self.trainee.practice.auto == READS_FIRST and config.model_type in MODELS
        in_pieces = is_alike and self.trainee.device.type == "cpu"  # a GPU would wait for the batch's lengths
        self.pieces = [self._piece(layer) for layer in self.present] if in_pieces else []
        self.packing: Packing | None = None  # of this step's tokens, where there are pieces

    def learners(self, layer: int) -> int:
        """How many devices, the first ones, train at this layer or below."""
        return sum(start <= layer for start in self.starts)

    def learned(self, masters: Sequence[torch.Tensor], device: int) -> list[np.ndarray]:
        """One device's part of the parameters' values, in the order of `work.sent_values`."""
        told, found = self.works[device].assignment, []
        names = [layer for layer in self.layers for _ in range(2 * len(self.trainee.layout.targets))]
        for at, master in enumerate(masters):
            if at >= len(names):
                found.append(master[device])
            elif names[at] in told.trained:
                own = master[device, : told.rank_of(names[at])]
                found.append(own.T if at % 2 else own)
        return [value.detach().cpu().numpy() for value in found]

    def powers(self) -> torch.Tensor:
        """Squared gradient norms: a row for each layer that learns and one for the head, a column for each device."""
        of_layer = 2 * len(self.trainee.layout.targets)
        found = torch.zeros(len(self.layers) + 1, len(self.works), device=self.trainee.device)
        for at, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                norms = torch.linalg.vector_norm(parameter.grad.flatten(1), dim=1).float()
                found[min(at // of_layer, len(self.layers)), : len(norms)] += norms.square()
        return found

    def scale_gradients(self, by: torch.Tensor) -> None:
        """Multiply each device's gradients by its own number."""
        for gradient in gradients(self.parameters):
            gradient.mul_(by[: len(gradient)].view(-1, *[1] * (gradient.ndim - 1)))

    def forward(self, batches: Sequence[Batch], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[Any, Batch]]:
        """Each device's view of one forward of all, and its own batch; all batches have one shape, `sizes` say how much counts."""
        self.sizes, (self.rows, self.width) = list(sizes), batches[0]["input_ids"].shape
        whole = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
        self.packing = self._packing(whole["attention_mask"]) if self.pieces else None
        answers: dict[str, Any] = {}
        for device, (batch, (rows, _)) in enumerate(zip(batches, sizes)):
            begin = device * self.rows
            seen = Seen(self.trainee.model, whole, answers, slice(begin, begin + rows))
            yield seen, {name: tensor[:rows] for name, tensor in batch.items()}

    def _packing(self, mask: torch.Tensor) -> Packing:
        """Where tokens lie without their padding."""
        is_token = mask.view(len(self.works), self.rows, self.width).bool()
        for each, (rows, _) in zip(is_token, self.sizes):
            each[rows:] = False
        return Packing(is_token, self.trainee.dtype, 1 if drops_attention(self.trainee.model.config) else LANES)

    def _site(self, layer: int, target: str) -> Site | None:
        module = self.trainee.lora(layer)[target]
        if any(target not in work.adapter.layers.get(layer, {}) for work in self.works):
            return None
        pairs = [sent_pair(work, layer, target) for work in self.works]
        ranks = [len(a) for a, _ in pairs]
        a, b = (self._all([_padded(one, max(ranks)) for one in each]) for each in zip(*((a, b.T) for a, b in pairs)))
        count, learned = self.learners(layer), None
        if layer in self.layers:
            learned = self._learning(a[:count]), self._learning(b[:count])
        rate = getattr(module.lora_dropout[ADAPTER], "p", 0.0)
        whole = self.trainee.spec.alpha / self.trainee.spec.rank / kept(rate)
        scale = torch.tensor([whole / self.trainee.unit(rank) for rank in ranks], device=self.trainee.device)
        return Site((a.to(self.trainee.dtype), b.to(self.trainee.dtype)), learned, scale.view(-1, 1, 1), rate)

    def _piece(self, layer: int) -> Layer:
        sites = {module: self.sites[layer, target] for target, module in self.trainee.lora(layer).items()}
        return Layer(self, self.trainee.layers[layer], sites, is_last=layer == self.present[-1])

    def _all(self, values: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.tensor(np.stack(values), device=self.trainee.device)

    def _learning(self, value: torch.Tensor) -> nn.Parameter:
        self.values.append(value.clone())
        self.parameters.append(nn.Parameter(value.to(self.trainee.dtype, copy=True)))
        return self.parameters[-1]

    # ---- what stands in for the model's modules

    def lora(self, site: Site | None, linear: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if site is None:
            return linear(x)  # type: ignore[no-any-return]
        a, b = site.learned if site.learned and not self.part.start else (one[self.part] for one in site.sent)
        keep, scale = self.keep(x.shape, site.rate), site.scale[self.part]
        y: torch.Tensor = StackedLora.apply(x, linear, a, b, keep, scale)  # type: ignore[no-untyped-call]
        return y

    def linear(self, weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
        x_NMH = x.reshape(len(weight), -1, x.shape[-1])
        y = torch.bmm(x_NMH, weight.transpose(1, 2))
        return (y if bias is None else y + bias[:, None]).view(*x.shape[:-1], -1)

    def dropout(self, rate: float, x: torch.Tensor) -> torch.Tensor:
        keep = self.keep(x.shape, rate)
        return x if keep is None else x * keep.div_(kept(rate))

    def layer(self, at: int, forward: Method, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run a transformer layer on those that train, and without a graph on those that do not yet."""
        layer, count, all_rows = self.present[at], len(self.works), len(self.works) * self.rows
        before, now = (self.learners(self.present[at - 1]) if at else 0), self.learners(layer)
        if not at:
            self.active, self.resting = None, x if self.packing is None else self.packing.pack(x)
        if now > before:
            assert self.resting is not None
            each = len(self.resting) // (count - before)
            come, self.resting = torch.split(self.resting, [(now - before) * each, (count - now) * each])
            self.active = come if self.active is None else torch.cat([self.active, come])

        def run(rows: torch.Tensor, part: slice) -> torch.Tensor:
            self.part = part
            if self.pieces:
                return self.pieces[at](rows, part)
            place = slice(part.start * self.rows, part.stop * self.rows)
            own, named = _rows(args, place, all_rows), _rows(kwargs, place, all_rows)
            y: torch.Tensor = forward(rows, *own, **named)
            return y

        if self.active is not None:
            self.active = run(self.active, slice(0, now))
        if now < count:
            assert self.resting is not None
            with torch.no_grad():
                self.resting = run(self.resting, slice(now, count))
        self.part = slice(0, count)
        there = [x for x in (self.active, self.resting) if x is not None and len(x)]
        return torch.cat(there) if layer == self.present[-1] and len(there) > 1 else there[0]

    def keep(self, shape: Sequence[int], rate: float) -> torch.Tensor | None:
        """1 where a number is kept, 0 where it is dropped, each device's as if its own batch were all there is."""
        if not rate:
            return None
        count, inner = self.part.stop - self.part.start, tuple(shape[1:])
        tokens = {2: (), 3: (0,), 4: (1, 2)}[len(shape)]  # which of these count tokens
        found = np.ones((count, self.rows, *inner), np.bool_)
        for place, keeps, (rows, width) in zip(found, self.keeps[self.part], self.sizes[self.part]):
            own = (rows, *(width if axis in tokens and n == self.width else n for axis, n in enumerate(inner)))
            place[tuple(map(slice, own))] = keeps.draw(own, rate)
        return self.number(found.reshape(shape))

    def number(self, found: np.ndarray) -> torch.Tensor:
        """1 for True and 0 for False, as the model computes."""
        return torch.from_numpy(found.astype(np.float32)).to(self.trainee.device, self.trainee.dtype)


class Seen:
    """The model as one device's loss asks it, answered with that device's rows of one forward of all."""

    def __init__(self, model: Any, whole: Batch, answers: dict[str, Any], rows: slice) -> None:
        self.model, self.whole, self.answers, self.rows = model, whole, answers, rows
        self.get_output_embeddings = model.get_output_embeddings

    def __call__(self, **inputs: Any) -> Any:
        return SimpleNamespace(logits=self._ask("logits", self.model, inputs))

    def base_model(self, **inputs: Any) -> Any:
        return SimpleNamespace(last_hidden_state=self._ask("last_hidden_state", self.model.base_model, inputs))

    def _ask(self, what: str, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if what not in self.answers:
            every = model(**{name: self.whole.get(name, value) for name, value in inputs.items()})
            self.answers[what] = getattr(every, what)
        answer: torch.Tensor = self.answers[what][self.rows]
        return answer


@contextmanager
def stacked(works: Sequence[Work]) -> Iterator[Stack]:
    """Let the model hold these devices, which have the same layers and batch, until the block ends."""
    stack, trainee, swaps = Stack(works), works[0].trainee, Swaps()
    model: Any = trainee.model
    try:
        for (layer, target), site in stack.sites.items():
            module = trainee.lora(layer)[target]
            swaps.replace(module, "forward", _put(stack.lora, site, module.base_layer))
        for path in {name.rpartition(".")[0] for name in stack.head}:
            own = stack.head[f"{path}.weight"], stack.head.get(f"{path}.bias")
            swaps.replace(model.get_submodule(path), "forward", _put(stack.linear, *own))
        for at, layer in enumerate(stack.present):
            swaps.replace(trainee.layers[layer], "forward", partial(partial, stack.layer, at))
        if trainee.practice.auto == READS_FIRST and hasattr(trainee.layers[0], CHUNK):
            swaps.replace(trainee.layers[stack.present[-1]], CHUNK, of_first)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                swaps.replace(module, "forward", _put(stack.dropout, module.p))
        with attending(stack, model.config), only_layers(trainee, stack.present):
            yield stack
    finally:
        swaps.undo()


def _padded(rows: np.ndarray, rank: int) -> np.ndarray:
    """As many rows as the greatest rank has. Of zeros in A and in B' alike no gradient comes, so that they stay zeros."""
    return np.pad(rows, ((0, rank - len(rows)), (0, 0)))


def _put(method: Method, *own: Any) -> Callable[[Method], Method]:
    """In place of a forward: this method, which is told these things first."""
    return lambda forward: partial(method, *own)


def _rows(value: Any, rows: slice, of: int) -> Any:
    """The rows of whatever has one for each example."""
    if isinstance(value, tuple):
        return tuple(_rows(one, rows, of) for one in value)
    if isinstance(value, dict):
        return {name: _rows(one, rows, of) for name, one in value.items()}
    return value[rows] if isinstance(value, torch.Tensor) and value.ndim > 1 and len(value) == of else value
