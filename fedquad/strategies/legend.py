"""LEGEND (arXiv 2412.20004): LoRA depth per device, and ranks that grow towards the output. A re-implementation.

    r_l = r0 (1 - spread) + 2 r0 spread l / (L - 1), rounded: the same on all devices, r0 on average
    mu_i <- rho mu_i + (1 - rho) measured seconds / predicted FLOPs              capacity estimate, a moving average
    t_i(k') = T_i mu_i C(k'),  C with the ranks above                            seconds of depth k'
    LCD: start at k'_i = k_i; while max t - mean t > theta t_avg: the slowest device trains one layer less
    theta_l <- theta_l + mean over the holders of layer l of delta_i,l

Only the abstract could be read: depth and rank distribution, capacity estimation, a greedy configuration and layer-wise
aggregation are the paper's, the formulas are ours; results are those of this re-implementation. Decisions. The estimate
starts at the reported speed; what a device measures holds its transfers too. Ranks above r0 cost memory: k' is the
deepest that fits with them, never above k. `spread=0` gives every layer the rank r0.
"""

from dataclasses import replace

import numpy as np

from fedquad.prices.cost import peak_bytes, step_flops
from fedquad.rounds import adapters, aggregate
from fedquad.rounds.aggregate import Totals
from fedquad.rounds.strategy import Answers, Strategy, World
from fedquad.strategies.fedlora import depths_that_fit, top_layers
from fedquad.types import Adapter, Assignment, Floats, Ints, Memo, ServerState, Statuses

REMARK = "a re-implementation from the paper's abstract; its numbers say nothing certain about the published system"
RANKS, FLOPS, PACE = "ranks", "step_flops_of_depth", "seconds_per_flop"  # in the memo


def strategy(spread: float = 0.5, rho: float = 0.8, theta: float = 0.5) -> Strategy:
    """Make LEGEND; the mean waiting may be `theta` of the last round's mean completion time."""

    def init(master: Adapter, world: World) -> Memo:
        ranks = rank_distribution(world.layers, world.rank, spread)
        flops = [step_flops(_assignment(world, 0, depth, 1, ranks), world.cost) for depth in range(world.layers + 1)]
        return {RANKS: ranks, FLOPS: np.array(flops), PACE: np.full(len(world.examples), np.nan)}

    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        ranks, there = np.array(state.memo[RANKS]), np.array(statuses.participants, dtype=np.int64)
        deepest = _deepest(world, ranks, statuses.memory_bytes)[there]
        there, deepest = there[deepest > 0], deepest[deepest > 0]
        measured = np.asarray(state.memo[PACE])[there]
        pace = np.where(np.isnan(measured), 1 / statuses.flops[there], measured)
        steps = np.array([world.steps(device) for device in there])
        seconds = (steps * pace)[:, None] * np.asarray(state.memo[FLOPS])
        rows = zip(there, shorten(seconds, deepest, theta, state.mean_seconds))
        return tuple(_assignment(world, int(device), int(depth), state.round + 1, ranks) for device, depth in rows)

    def combine(state: ServerState, answers: Answers) -> ServerState:
        totals, pace = Totals(), np.array(state.memo[PACE])
        for assignment, update in answers:
            totals.add(state.adapter, update.delta, aggregate.uniform(assignment, update.report))
            flops = assignment.steps * np.asarray(state.memo[FLOPS])[len(assignment.trained)]
            if update.report.seconds:
                found, before = update.report.seconds / flops, pace[assignment.device]
                pace[assignment.device] = found if np.isnan(before) else rho * before + (1 - rho) * found
        return replace(state, adapter=aggregate.mean(state.adapter, totals), memo={**state.memo, PACE: pace})

    def view(state: ServerState) -> Adapter:
        return adapters.cut(state.adapter, state.adapter.layers, map(int, np.asarray(state.memo[RANKS])))

    return Strategy(plan=plan, init=init, combine=combine, view=view, rank_factor=1 + spread)


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
