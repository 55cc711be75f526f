"""HetLoRA's penalty on the rank's tail, and its pruning.

    lambda sum over pairs of |B[:, t:]|_F |A[t:, :]|_F     t = floor(tail_keep * rank)

It acts on gradients alone: the loss that is reported stays the task's.
"""

import math
from collections.abc import Sequence

import torch

from fedquad.learn.model import ADAPTER, Trainee
from fedquad.types import Assignment

Factors = tuple[torch.Tensor, torch.Tensor]


def add_penalty(trainee: Trainee, assignment: Assignment) -> bool:
    """Add the assignment's penalty to the gradients; say whether there was one."""
    pairs = tails(trainee, assignment) if assignment.local.tail_penalty else []
    if pairs:
        (assignment.local.tail_penalty * _product(pairs)).backward()  # type: ignore[no-untyped-call]
    return bool(pairs)


def tails(trainee: Trainee, assignment: Assignment) -> list[Factors]:
    """The tails of all trained pairs that have one, B in the campaign's unit."""
    found: list[Factors] = []
    for layer in assignment.trained:
        start, rank = tail_start(assignment, layer), assignment.rank_of(layer)
        if start < rank:
            for module in trainee.lora(layer).values():
                a, b = module.lora_A[ADAPTER].weight[start:], module.lora_B[ADAPTER].weight[:, start:]
                found.append((a, b / trainee.unit(rank)))
    return found


def tail_start(assignment: Assignment, layer: int) -> int:
    return math.floor(assignment.local.tail_keep * assignment.rank_of(layer))


def tail_size(trainee: Trainee, assignment: Assignment) -> float:
    """HetLoRA's s: a device prunes its rank where training made this smaller."""
    with torch.no_grad():
        pairs = tails(trainee, assignment)
        return float(_product(pairs)) if pairs else 0.0


def _product(pairs: Sequence[Factors]) -> torch.Tensor:
    return torch.stack([a.float().norm() * b.float().norm() for a, b in pairs]).sum()


def pruned_ranks(assignment: Assignment, before: float, after: float) -> dict[int, int]:
    """Rank of each trained layer after pruning, which is allowed where the assignment names least ranks."""
    ranks = {layer: assignment.rank_of(layer) for layer in assignment.trained}
    if not assignment.least_ranks or after >= before:
        return ranks
    least = dict(zip(assignment.present, assignment.least_ranks))
    return {layer: min(rank, max(least[layer], tail_start(assignment, layer))) for layer, rank in ranks.items()}
