"""LEGEND (arXiv 2412.20004): LoRA depth per device, and ranks that grow towards the output. A re-implementation.

    r_l = r0 (1 - spread) + 2 r0 spread l / (L - 1), rounded: the same on all devices, r0 on average
    t_i(k') = T_i C(k') / q_i,  C with the ranks above                           seconds of depth k'
    LCD: start at k'_i = k_i; while max t - mean t > theta t_avg: the slowest device trains one layer less
    theta_l <- theta_l + mean over the holders of layer l of delta_i,l

Only the abstract could be read: depth and rank distribution, capacity estimation, a greedy configuration and layer-wise
aggregation are the paper's, the formulas are ours; results are those of this re-implementation. Decisions. The capacity
estimate is the one every method plans with: q_i corrected by what the device has measured (rounds/round.py). Ranks above
r0 cost memory: k' is the deepest that fits with them, never above k. `spread=0` gives every layer the rank r0.
"""

from dataclasses import replace

import numpy as np

from fedquad.prices.cost import peak_bytes, step_flops
from fedquad.rounds import adapters
from fedquad.rounds.strategy import Strategy, World
from fedquad.strategies.fedlora import depths_that_fit, top_layers
from fedquad.types import Adapter, Assignment, Floats, Ints, ServerState, Statuses

REMARK = "a re-implementation from the paper's abstract; its numbers say nothing certain about the published system"


def strategy(spread: float = 0.5, theta: float = 0.5) -> Strategy:
    """Make LEGEND; the mean waiting may be `theta` of the last round's mean completion time."""

    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        ranks, there = ranks_of(world, spread), np.array(statuses.participants, dtype=np.int64)
        deepest = _deepest(world, ranks, statuses.memory_bytes)[there]
        there, deepest = there[deepest > 0], deepest[deepest > 0]
        flops = [step_flops(_assignment(world, 0, depth, 1, ranks), world.cost) for depth in range(world.layers + 1)]
        seconds = (world.steps[there] / statuses.flops[there])[:, None] * np.array(flops)
        rows = zip(there, shorten(seconds, deepest, theta, state.mean_seconds))
        return tuple(_assignment(world, int(device), int(depth), state.round + 1, ranks) for device, depth in rows)

    def view(state: ServerState, world: World) -> Adapter:
        return adapters.cut(state.adapter, state.adapter.layers, map(int, ranks_of(world, spread)))

    return Strategy(plan=plan, view=view, rank_factor=1 + spread, adapts_depth=True)


def ranks_of(world: World, spread: float) -> Ints:
    """The rank of each layer in this world."""
    return rank_distribution(world.layers, world.rank, spread)


def rank_distribution(layers: int, rank: int, spread: float) -> Ints:
    """Ranks from r0 (1 - spread) nearest the input to r0 (1 + spread) nearest the output."""
    steps = np.linspace(rank * (1 - spread), rank * (1 + spread), layers) if layers > 1 else np.array([float(rank)])
    return np.maximum(1, np.floor(steps + 0.5)).astype(np.int64)


def shorten(seconds: Floats, deepest: Ints, theta: float, mean_seconds: float) -> Ints:
    """LCD: lower the slowest device's depth, layer by layer, until the mean waiting is short enough or it is 1.

    `seconds` has a row a device and a column a depth from 0; before the first round the mean is the predicted one.
    """
    depths, rows = deepest.copy(), np.arange(len(deepest))
    while len(depths):
        times = seconds[rows, depths]
        slowest, mean = int(np.argmax(times)), float(times.mean())
        if times[slowest] - mean <= theta * (mean_seconds or mean) or depths[slowest] == 1:
            break
        depths[slowest] -= 1
    return depths


def _deepest(world: World, ranks: Ints, memory_bytes: Ints) -> Ints:
    """k' of each device at these ranks."""
    depths = range(1, world.layers + 1)
    peaks = np.array([peak_bytes(_assignment(world, 0, depth, 1, ranks), world.cost) for depth in depths])
    fitting = (peaks <= memory_bytes[:, None]).sum(axis=1)
    deepest: Ints = np.minimum(fitting, depths_that_fit(world.cost, memory_bytes))
    return deepest


def _assignment(world: World, device: int, depth: int, round: int, ranks: Ints) -> Assignment:
    return replace(top_layers(world, device, depth, round), ranks=tuple(map(int, ranks)))
