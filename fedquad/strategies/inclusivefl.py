"""InclusiveFL (Liu et al., KDD 2022): models of a few sizes, each the first s layers with a head of its own.

    s_1 < ... < s_G = L       sizes, every `step` layers; device i takes the largest s_g <= n_i (n_i as in FedRA)
    delta_g                   mean update of the devices of size s_g, by their examples (homogeneous aggregation)
    m_g = sum of delta_{g+1}[l] over l = s_g - 1 .. s_{g+1} - 1, over (s_{g+1} - s_g + 1)
    delta_g[s_g - 1] <- (1 - beta) delta_g[s_g - 1] + beta m_g, with the m_g of the round before     (momentum
distillation)
    theta[l] <- theta[l] + sum_g W_g delta_g[l] / sum_g W_g over the sizes with l <= s_g - 2         (heterogeneous
aggregation)

Each size keeps its last layer and its head to itself; all other layers are common to the sizes that have them, so the
state is the largest model plus, in the memo, the last layer and the head of each smaller size. The largest model is
evaluated.

Decisions. Adapted from full fine-tuning to LoRA, and from summed gradients to deltas. The published loop overwrites m_g
where the formula sums, and mixes in the first round alone: this is the formula. Where the larger size was absent the
round before, there is no m_g and nothing is mixed. A device too small for s_1 sits out. `momentum=0, share_head=true`
is the baseline of FedRA's authors.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from fedquad.rounds import adapters, aggregate
from fedquad.rounds.aggregate import Totals
from fedquad.rounds.strategy import Answers, Strategy, World
from fedquad.strategies.fedra import Conversion, check, sizes_that_fit, submodel
from fedquad.types import Adapter, Assignment, Floats, Memo, ServerState, Statuses

Delta = dict[tuple[str, str], Floats]


def strategy(
    conversion: Conversion = "memory", step: int = 4, momentum: float = 0.2, share_head: bool = False
) -> Strategy:
    """Make InclusiveFL; `momentum` is the formula's beta."""
    check(conversion)

    def init(master: Adapter, world: World) -> Memo:
        return _smaller({size: _own(master, size) for size in sizes_of(world.layers, step)[:-1]}, share_head)

    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        sizes = np.array((0, *sizes_of(world.layers, step)))
        fitting = sizes_that_fit(conversion, world.cost, statuses.memory_bytes)
        chosen = sizes[np.searchsorted(sizes, fitting, side="right") - 1]
        there = [device for device in statuses.participants if chosen[device]]
        return tuple(submodel(world, device, tuple(range(chosen[device])), state.round + 1) for device in there)

    def send(state: ServerState, assignment: Assignment, world: World) -> Adapter:
        size = len(assignment.present)
        own, common = own_of(state, size), adapters.for_assignment(state.adapter, assignment)
        return Adapter(layers={**common.layers, **own.layers}, head=own.head)

    def combine(state: ServerState, answers: Answers, world: World) -> ServerState:
        weigh = aggregate.by_amount(aggregate.by_examples, world.training.weigh)
        return merge(state, answers, weigh, sizes_of(world.layers, step), momentum, share_head)

    return Strategy(plan=plan, init=init, send=send, combine=combine)


def sizes_of(layers: int, step: int) -> tuple[int, ...]:
    """Sizes of the models, ascending: 4, 8, 12 for twelve layers."""
    return (*range(step, layers, step), layers)


def own_of(state: ServerState, size: int) -> Adapter:
    """What a size keeps to itself: its last layer, and its head unless all share one."""
    if size == len(state.adapter.layers):
        return _own(state.adapter, size)
    prefix = f"size-{size}."
    named = {name.removeprefix(prefix): np.asarray(a) for name, a in state.memo.items() if name.startswith(prefix)}
    held = adapters.unflatten(named)
    return Adapter(layers=held.layers, head=held.head or state.adapter.head)


def merge(
    state: ServerState,
    answers: Answers,
    weigh: aggregate.Weigh,
    sizes: tuple[int, ...],
    momentum: float,
    share_head: bool,
) -> ServerState:
    """Both aggregations in one pass: common layers over all sizes; of each size what only it or its m_g needs."""
    common, by_size = Totals(), {size: Totals() for size in sizes}
    for assignment, update in answers:
        size = len(assignment.present)
        weights = weigh(assignment, update.report)
        common.add(state.adapter, update.delta, aggregate.within(weights, range(size - 1), has_head=share_head))
        by_size[size].add(
            state.adapter, update.delta, aggregate.within(weights, window(sizes, size), has_head=not share_head)
        )
    adapter = aggregate.mean(state.adapter, common)
    own = {size: _moved_own(state, size, by_size[size], momentum) for size in sizes}
    largest = own.pop(sizes[-1])
    head = adapter.head if share_head else largest.head
    after = Adapter(layers={**adapter.layers, **largest.layers}, head=head)
    distilled = {
        f"momentum-{small}.{target}.{factor}": array
        for small, large in pairwise(sizes)
        if by_size[large].updates
        for (target, factor), array in _momentum(by_size[large], small, large).items()
    }
    return replace(state, adapter=after, memo={**_smaller(own, share_head), **distilled})


def window(sizes: tuple[int, ...], size: int) -> range:
    """The layers of a size that its own last layer, and the m_g of the next smaller size, are made of."""
    smaller = max((s for s in sizes if s < size), default=size)
    return range(smaller - 1, size)


def _moved_own(state: ServerState, size: int, totals: Totals, momentum: float) -> Adapter:
    """A size's last layer and head after the round; the last layer takes up what was distilled the round before."""
    own = own_of(state, size)
    if not totals.updates:
        return own
    delta = aggregate.mean_delta(totals, size - 1)
    held = {key: state.memo.get(f"momentum-{size}.{key[0]}.{key[1]}") for key in delta}
    mixed = {
        key: each if (m := held[key]) is None else (1 - momentum) * each + momentum * m for key, each in delta.items()
    }
    last = aggregate.moved(own.layers[size - 1], mixed)
    return Adapter(layers={size - 1: last}, head=aggregate.mean_head(own.head, totals))


def _momentum(larger: Totals, small: int, large: int) -> Delta:
    """m_g: the mean update of the larger model's layers from the smaller one's last on, less those under a frozen prefix."""
    deltas = [aggregate.mean_delta(larger, layer) for layer in range(small - 1, large) if layer in larger.rows]
    return {
        key: np.sum([delta[key] for delta in deltas], axis=0) / len(deltas) for key in (deltas[0] if deltas else ())
    }


def _own(adapter: Adapter, size: int) -> Adapter:
    return Adapter(layers={size - 1: adapter.layers[size - 1]}, head=adapter.head)


def _smaller(own: Mapping[int, Adapter], share_head: bool) -> Memo:
    """The memo's part of every size but the largest."""
    kept = {size: replace(each, head={}) if share_head else each for size, each in own.items()}
    return {
        f"size-{size}.{name}": array for size, each in kept.items() for name, array in adapters.flatten(each).items()
    }
