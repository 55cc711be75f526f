"""LayerSel (Sun et al., arXiv 2408.15600): each device trains the layers that the server selects by their gradients.

    p_il = |grad_l|^2 over the LoRA of layer l, probed on the global model, divided by its mean over i and l
    (P1)  max  sum_i sum_l m_il p_il - lambda/2 sum_i sum_{j != i} |m_i - m_j|_1     m binary, sum_l m_il = R_i
    theta_l <- theta_l + sum over selectors of |D_i| delta_i,l / sum over selectors of |D_i|

`balance` is lambda. At 0 every device takes its own R_i best layers; as it grows the devices agree on layers.

    paper    (default) R_i = k_i, any layers, as published: selecting one low layer costs about all activations above
it, and the
             probe unfreezes every layer, so memory is exceeded and counted
    strict   candidates are the top k_i layers, which is what a probe fits in memory; `budget` below k_i leaves a choice

Decisions. The probe is charged on the clock; it takes `probe_batches` batches, one by default where the published code
takes the whole local set, and averages squared norms batch by batch where that code lets gradients accumulate. (P1) is
solved by block-coordinate ascent, from each device's own choice and from the choice of their sum, over full budgets
(the published code solves for at most R_i layers and fills up afterwards). A device whose probe failed takes the mean
of the others'. Ties go to the layer nearest the output.
"""

from dataclasses import replace

import numpy as np

from fedquad.rounds import aggregate
from fedquad.rounds.strategy import MemoryPolicy, Strategy, World
from fedquad.strategies.fedlora import depths_that_fit, top_layers
from fedquad.types import Assignment, Bools, Floats, Ints, Local, ServerState, Statuses

VARIANTS = ("paper", "strict")
SIGNAL = "gradient_squares"


def strategy(variant: str = "paper", balance: float = 0.0, probe_batches: int = 1, budget: int = 0) -> Strategy:
    """Make LayerSel; a `budget` above 0 is the most layers a device selects."""
    is_strict = variant == "strict"

    def survey(state: ServerState, statuses: Statuses, world: World) -> tuple[Assignment, ...]:
        depths = depths_that_fit(world.cost, statuses.memory_bytes)
        probe = Local(probe_batches=probe_batches)
        lowest = world.layers - depths if is_strict else np.zeros_like(depths)
        return tuple(
            _selected(world, device, range(int(lowest[device]), world.layers), state.round + 1, probe)
            for device in statuses.participants
            if depths[device]
        )

    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        depths = depths_that_fit(world.cost, statuses.memory_bytes)
        there = np.array([device for device in statuses.participants if depths[device]], dtype=np.int64)
        budgets = np.minimum(depths[there], budget or world.layers)
        masks = select(probed(statuses, there, depths if is_strict else None, world.layers), budgets, balance)
        rows = zip(there, masks)
        return tuple(_selected(world, int(device), np.flatnonzero(mask), state.round + 1) for device, mask in rows)

    policy: MemoryPolicy = "strict" if is_strict else "flag"
    return Strategy(plan=plan, survey=survey, weigh=aggregate.by_examples, memory_policy=policy)


def probed(statuses: Statuses, there: Ints, depths: Ints | None, layers: int) -> Floats:
    """p of the given devices over their mean; minus infinity where a layer is no candidate; all alike if unprobed."""
    squares = statuses.signals.get(SIGNAL, np.full((len(statuses), layers), np.nan))[there]
    is_known = np.isfinite(squares)
    others = np.sum(squares, axis=0, where=is_known, keepdims=True) / np.maximum(is_known.sum(axis=0, keepdims=True), 1)
    filled = np.where(is_known, squares, others)
    mean = filled.mean() if filled.size else 0.0
    scores: Floats = filled / mean if mean > 0 else filled
    if depths is not None:
        scores = np.where(np.arange(layers) >= layers - depths[there][:, None], scores, -np.inf)
    return scores


def select(scores: Floats, budgets: Ints, balance: float) -> Bools:
    """Solve (P1) for masks of exactly `budgets` layers, one row a device: the better of two ascents."""
    own = np.array([_best(row, budget) for row, budget in zip(scores, budgets)], dtype=bool).reshape(scores.shape)
    if not balance:
        return own
    total = np.where(np.isfinite(scores), scores, 0.0).sum(axis=0)
    shared = np.where(np.isfinite(scores), total, -np.inf)
    agreed = np.array([_best(row, budget) for row, budget in zip(shared, budgets)], dtype=bool).reshape(scores.shape)
    climbed = [ascend(scores, budgets, balance, start) for start in (own, agreed)]
    return max(climbed, key=lambda masks: objective(scores, masks, balance))


def ascend(scores: Floats, budgets: Ints, balance: float, start: Bools) -> Bools:
    """Let one device after another choose best against the others' choice, until nobody changes: (P1) never falls."""
    masks = start.copy()
    counts = masks.sum(axis=0)
    value = objective(scores, masks, balance)
    while True:
        for row, budget in enumerate(budgets):
            others = counts - masks[row]
            masks[row] = _best(scores[row] - balance * (len(masks) - 1 - 2 * others), budget)
            counts = others + masks[row]
        before, value = value, objective(scores, masks, balance)
        if value <= before + 1e-12 * abs(before):
            return masks


def objective(scores: Floats, masks: Bools, balance: float) -> float:
    """The value of (P1); two devices differ in a layer that n of N select in n (N - n) of their pairs."""
    counts = masks.sum(axis=0)
    return float(np.sum(scores, where=masks) - balance * np.sum(counts * (len(masks) - counts)))


def _best(gains: Floats, budget: int) -> Bools:
    """The `budget` greatest gains, the highest layer of equals; never one of minus infinity."""
    order = np.argsort(-gains[::-1], kind="stable")[:budget]
    mask = np.zeros(len(gains), dtype=bool)
    mask[len(gains) - 1 - order] = True
    return mask & (gains > -np.inf)


def _selected(world: World, device: int, layers: Ints | range, round: int, probe: Local | None = None) -> Assignment:
    """Train these layers of the whole model, or only probe them."""
    whole = replace(top_layers(world, device, 0, round), trained=tuple(int(layer) for layer in layers))
    return replace(whole, steps=0, local=probe) if probe else whole
