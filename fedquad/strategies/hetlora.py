"""HetLoRA (Cho et al., EMNLP 2024): devices differ in LoRA rank; they prune it, and count by what their LoRA has
become.

    r_i = r_min + (k_i - L/6) / (L - L/6) (r_max - r_min), rounded, at most what device i pruned itself to
    sent     A[:r_i], B[:, :r_i]                                                     truncation
    loss     F_i + lambda sum over modules |B[:, t:]|_F |A[t:, :]|_F, t = floor(gamma r_i)
    pruning  the tail's sum fell in training: r_i <- max(r_min, floor(gamma r_i)), from then on
    merge    sum_i p_i pad(theta_i), p_i = S_i / sum_j S_j, S_i = |B_i A_i|_F         the head by its plain mean

    strict   (default) top k_i layers at rank r_i, or the greatest rank below it that fits; merged over each layer's
holders
    ignore   all layers, whatever the memory, as published: violations are counted

Decisions. Rank hardly changes memory (one unit of rank is 0.04 % of a layer's activations), so that only `strict` runs
on such devices at all. S_i is over all modules of the device, also those it does not train: over the trained ones it would weigh
depth, not what was learned. Ranks differ in their scale (learn/model.py), or they would differ in their learning rate.
r_min and r_max are shares of the campaign's rank. `gamma=1` neither penalizes nor prunes. A pruned row counts as zero
in the merge, a row that few hold shrinks: that is the published merge.
"""

import math
from dataclasses import replace

import numpy as np

from fedquad.errors import one_of
from fedquad.prices.cost import peak_bytes
from fedquad.rounds import aggregate
from fedquad.rounds.aggregate import Totals
from fedquad.rounds.strategy import MemoryPolicy, Strategy, World
from fedquad.strategies.fedlora import depths_that_fit, top_layers
from fedquad.types import Adapter, Assignment, Ints, Local, Memo, Report, ServerState, Statuses

VARIANTS = ("strict", "ignore")
WEIGHTINGS = {"sparsity": aggregate.by_lora_norm, "uniform": aggregate.uniform}
CAPS = "rank_caps"  # in the memo: the rank each device may have, pruning remembered


def strategy(
    variant: str = "strict",
    least: float = 0.25,
    most: float = 2.0,
    gamma: float = 0.9,
    penalty: float = 1e-3,
    weighting: str = "sparsity",
) -> Strategy:
    """Make HetLoRA; `least` and `most` are r_min and r_max as shares of the campaign's rank."""
    if weighting not in WEIGHTINGS:
        raise one_of("weighting of hetlora", weighting, list(WEIGHTINGS))

    def init(master: Adapter, world: World) -> Memo:
        return {CAPS: np.full(len(world.examples), _share(world.rank, most))}

    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        depths = depths_that_fit(world.cost, statuses.memory_bytes)
        least_rank = _share(world.rank, least)
        wanted = np.minimum(ranks_of(depths, world.layers, least_rank, _share(world.rank, most)), state.memo[CAPS])
        assignments = []
        for device in statuses.participants:
            if variant == "ignore":
                whole = top_layers(world, device, world.layers, state.round + 1)
                assignments.append(_at_rank(whole, int(wanted[device]), least_rank, gamma, penalty))
            elif depths[device]:
                top = top_layers(world, device, int(depths[device]), state.round + 1)
                fitting = _rank_that_fits(world, top, int(wanted[device]), int(statuses.memory_bytes[device]))
                assignments.append(_at_rank(top, fitting, min(least_rank, fitting), gamma, penalty))
        return tuple(assignments)

    def apply(state: ServerState, totals: Totals, world: World) -> ServerState:
        return replace(state, adapter=aggregate.zero_padded(state.adapter, totals))

    def note(memo: Memo, assignment: Assignment, report: Report) -> Memo:
        kept = max(report.ranks, default=assignment.ranks[0])
        if kept >= assignment.ranks[0]:
            return memo
        caps = np.array(memo[CAPS])
        caps[assignment.device] = kept
        return {**memo, CAPS: caps}

    policy: MemoryPolicy = "flag" if variant == "ignore" else "strict"
    return Strategy(
        plan=plan,
        init=init,
        weigh=WEIGHTINGS[weighting],
        apply=apply,
        note=note,
        memory_policy=policy,
        rank_factor=most,
    )


def ranks_of(depths: Ints, layers: int, least: int, most: int) -> Ints:
    """r_i before pruning: linear in k, from r_min at L/6 (4 of 24, the paper's weakest) to r_max at L."""
    share = np.clip((depths - layers / 6) / (layers - layers / 6), 0, 1)
    ranks: Ints = np.floor(least + share * (most - least) + 0.5).astype(np.int64)
    return ranks


def _share(rank: int, factor: float) -> int:
    return max(1, round(rank * factor))


def _at_rank(assignment: Assignment, rank: int, least: int, gamma: float, penalty: float) -> Assignment:
    """The same work at one rank; with a tail, penalized and free to lose it."""
    ranks = (rank,) * len(assignment.present)
    if math.floor(gamma * rank) == rank:
        return replace(assignment, ranks=ranks)
    local = Local(tail_penalty=penalty, tail_keep=gamma)
    return replace(assignment, ranks=ranks, least_ranks=(least,) * len(ranks), local=local)


def _rank_that_fits(world: World, assignment: Assignment, wanted: int, memory_bytes: int) -> int:
    """The greatest rank up to `wanted` whose peak the device holds; depth k was counted at the campaign's."""
    for rank in range(wanted, 1, -1):
        if peak_bytes(replace(assignment, ranks=(rank,) * len(assignment.ranks)), world.cost) <= memory_bytes:
            return rank
    return 1
