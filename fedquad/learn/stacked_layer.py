"""A layer of BERT's kind in a stack, in one piece: without its padding, its modules, and autograd's bookkeeping of each operation.

    layer = Layer(stack, module, sites, is_last=False)
    y_NMH = layer(x_NMH, part)        # of the devices in this part of the stack, whose tokens stand side by side (packed.py)

Every part of it answers with what it makes of a tensor, and with the way back: a function of the gradient of the one that
gives the gradient of the other. N devices, M slots of each, R = N M rows, H wide; B examples of W tokens where attention sees them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers.activations import GELUActivation

from fedquad.learn.keeps import Keeps, kept
from fedquad.learn.packed import Packing
from fedquad.learn.stacked_attention import attend
from fedquad.learn.stacked_lora import Site, add_low_rank, low_rank_gradients

Back = Callable[[torch.Tensor], torch.Tensor]
Step = tuple[torch.Tensor, Back]
Gradients = dict[int, tuple[torch.Tensor, torch.Tensor]]  # of A and B', by product
QUERY, KEY, VALUE, OUT, UP, DOWN = range(6)


class Holder(Protocol):
    """What a stack tells of its devices."""

    packing: Packing | None
    keeps: list[Keeps]
    sizes: list[tuple[int, int]]

    def number(self, found: np.ndarray) -> torch.Tensor: ...


class Layer:
    """What the layer is made of, and what the stack's devices were sent for it."""

    def __init__(self, stack: Holder, module: Any, sites: Mapping[nn.Module, Site | None], is_last: bool) -> None:
        self.stack, self.is_last = stack, is_last
        self.attention, out = module.attention.self, module.attention.output
        of_attention = self.attention.query, self.attention.key, self.attention.value, out.dense
        linears = *of_attention, module.intermediate.dense, module.output.dense
        self.sites = [sites.get(linear) for linear in linears]
        self.linears: list[nn.Linear] = [getattr(linear, "base_layer", linear) for linear in linears]
        self.norms: tuple[nn.LayerNorm, nn.LayerNorm] = (out.LayerNorm, module.output.LayerNorm)
        self.rates = out.dropout.p, module.output.dropout.p
        self.activation = module.intermediate.intermediate_act_fn

    def __call__(self, x_NMH: torch.Tensor, part: slice) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return Pass(self, part, False).forward(x_NMH)[0]
        learned = [p for site in self.sites if site and site.learned for p in site.learned]
        y: torch.Tensor = Piece.apply(x_NMH, Pass(self, part, True), *learned)  # type: ignore[no-untyped-call]
        return y


class Piece(torch.autograd.Function):
    """The layer as autograd knows it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, run: "Pass", *learned: torch.Tensor) -> torch.Tensor:
        run.needs_dx = ctx.needs_input_grad[0]
        y, ctx.back = run.forward(x)
        ctx.gradients = run.gradients
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> Any:
        dx, ctx.back = ctx.back(dy), None  # and with it all that it kept
        return dx, None, *(one for at in sorted(ctx.gradients) for one in ctx.gradients[at])


class Pass:
    """One pass of a part of the devices through the layer."""

    def __init__(self, layer: Layer, part: slice, learns: bool) -> None:
        assert layer.stack.packing is not None
        self.layer, self.part, self.learns, self.packing = layer, part, learns, layer.stack.packing
        self.count = part.stop - part.start
        self.needs_dx = False
        self.gradients: Gradients = {}

    def forward(self, x_NMH: torch.Tensor) -> Step:
        x = x_NMH.flatten(0, 1)
        c, into_x = self.attended(x)
        o, into_c = self.product(OUT, c)
        o, into_o = self.dropped(0, o)
        h, into_sum = self.normed(0, o.add_(x))
        first = self.packing.first(self.part) if self.layer.is_last else None
        g = h if first is None else h.index_select(0, first)
        y, into_h = self.fed_forward(g)

        def back(dy_NMH: torch.Tensor) -> Any:
            dh = into_h(dy_NMH.flatten(0, 1))
            if first is not None:
                dh = torch.zeros_like(h).index_add_(0, first, dh)
            dsum = into_sum(dh)
            dx = into_x(into_c(into_o(dsum)), dsum if self.needs_dx else None)
            return None if dx is None else self.of_each(dx)

        return (y[:, None] if self.layer.is_last else self.of_each(y)), back

    def fed_forward(self, h: torch.Tensor) -> Step:
        u, into_h = self.product(UP, h)
        a, into_u = self.activated(u)
        d, into_a = self.product(DOWN, a)
        d, into_d = self.dropped(1, d)
        y, into_sum = self.normed(1, d.add_(h))

        def back(dy: torch.Tensor) -> torch.Tensor:
            dsum = into_sum(dy)
            dh: torch.Tensor = into_h(into_u(into_a(into_d(dsum)))).add_(dsum)
            return dh

        return y, back

    def product(self, at: int, x: torch.Tensor) -> Any:
        """x W' + b and what each device's LoRA adds; the way back adds to a gradient that there is."""
        linear, site = self.layer.linears[at], self.layer.sites[at]
        y = functional.linear(x, linear.weight, linear.bias)
        low = None
        if site is not None:
            a, b = site.learned if site.learned and self.learns else (one[self.part] for one in site.sent)
            keep, scale = self.keep(x, site.rate), site.scale[self.part]
            low = a, b, keep, scale, *add_low_rank(self.of_each(y), self.of_each(x), a, b, keep, scale)

        def back(dy: torch.Tensor, dx: torch.Tensor | None = None) -> torch.Tensor | None:
            if at > VALUE or self.needs_dx:
                dx = torch.mm(dy, linear.weight) if dx is None else dx.addmm_(dy, linear.weight)
            if low is not None and site is not None:
                dx_NMH = None if dx is None else self.of_each(dx)
                da, db = low_rank_gradients(self.of_each(dy), dx_NMH, *low, is_learned=site.learned is not None)
                if da is not None and db is not None:
                    self.gradients[at] = da, db
            return dx

        return y, back

    def of_each(self, x_R: torch.Tensor) -> torch.Tensor:
        return x_R.view(self.count, -1, x_R.shape[-1])

    def keep(self, x_RH: torch.Tensor, rate: float) -> torch.Tensor | None:
        """1 for what dropout keeps of each device's tokens, or of its examples' first ones."""
        if not rate:
            return None
        is_whole = len(x_RH) == self.count * self.packing.slots
        stack = self.layer.stack
        found = np.ones((self.count, len(x_RH) // self.count, x_RH.shape[-1]), np.bool_)
        for place, tokens, (rows, _), keeps in zip(
            found, self.packing.tokens[self.part], stack.sizes[self.part], stack.keeps[self.part]
        ):
            own = place[: tokens if is_whole else rows]
            own[:] = keeps.draw(own.shape, rate)
        return stack.number(found)

    def attended(self, x: torch.Tensor) -> Any:
        """Each example's tokens among themselves."""
        module, width = self.layer.attention, self.packing.width
        place, slot = self.packing.of(self.part)
        made = [self.product(at, x) for at in (QUERY, KEY, VALUE)]
        heads = len(slot) // width, width, -1, module.attention_head_size
        each = [one.index_select(0, slot).view(heads).transpose(1, 2).requires_grad_(self.learns) for one, _ in made]
        with torch.set_grad_enabled(self.learns):
            y_BWGD = attend(module, each, self.packing.mask(self.part))

        def back(dy: torch.Tensor, dx: torch.Tensor | None) -> torch.Tensor | None:
            spread = dy.index_select(0, slot).view(y_BWGD.shape)
            for (_, into_x), dz in zip(made, torch.autograd.grad(y_BWGD, each, spread)):
                into_x(dz.transpose(1, 2).reshape(len(slot), -1).index_select(0, place), dx)
            return dx

        return y_BWGD.detach().reshape(len(slot), -1).index_select(0, place), back

    def activated(self, u: torch.Tensor) -> Step:
        if type(self.layer.activation) is GELUActivation:  # BERT's; sparing autograd's own bookkeeping
            return functional.gelu(u), lambda dy: torch.ops.aten.gelu_backward(dy, u)
        u.requires_grad_(self.learns)
        with torch.set_grad_enabled(self.learns):
            y = self.layer.activation(u)
        return y.detach(), lambda dy: torch.autograd.grad(y, u, dy)[0]

    def dropped(self, which: int, x: torch.Tensor) -> Step:
        rate = self.layer.rates[which]
        keep = self.keep(x, rate)
        if keep is None:
            return x, lambda dy: dy
        keep = keep.div_(kept(rate)).view_as(x)
        return x.mul_(keep), lambda dy: dy * keep

    def normed(self, which: int, x: torch.Tensor) -> Step:
        norm = self.layer.norms[which]
        y, mean, rstd = torch.native_layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

        def back(dy: torch.Tensor) -> torch.Tensor:
            shape, wanted = list(norm.normalized_shape), [True, False, False]
            given = (dy, x, shape, mean, rstd, norm.weight, norm.bias, wanted)
            dx: torch.Tensor = torch.ops.aten.native_layer_norm_backward(*given)[0]
            return dx

        return y, back
