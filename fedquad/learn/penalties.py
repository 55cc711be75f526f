"""What a method adds to local training: FedProx's proximal term, HetLoRA's penalty on the rank's tail and its pruning.

    proximal   mu/2 |theta - theta_sent|^2                            gradient mu (theta - theta_sent)
    tail       lambda sum over pairs of |B[:, t:]|_F |A[t:, :]|_F     t = floor(tail_keep * rank)

Both act on gradients alone: the loss that is reported stays the task's.
"""

import math
from collections.abc import Sequence

import torch

from fedquad.learn.model import ADAPTER, Trainee
from fedquad.learn.optimizer import Optimizer
from fedquad.types import Assignment

Factors = tuple[torch.Tensor, torch.Tensor]


def add_penalties(trainee: Trainee, assignment: Assignment, optimizer: Optimizer) -> bool:
    """Add the assignment's penalties to the gradients of what learns this step; say whether there were any."""
    local = assignment.local
    if local.proximal:
        _add_proximal(optimizer, local.proximal)
    if local.tail_penalty:
        pairs = [pair for pair in tails(trainee, assignment) if any(factor.requires_grad for factor in pair)]
        if pairs:
            (local.tail_penalty * _product(pairs)).backward()  # type: ignore[no-untyped-call]
    return bool(local.proximal or local.tail_penalty)


def _add_proximal(optimizer: Optimizer, strength: float) -> None:
    for parameter, master, start in zip(optimizer.parameters, optimizer.masters, optimizer.start):
        if parameter.grad is not None:
            parameter.grad.add_((master.detach() - start).to(parameter.dtype), alpha=strength)


def tails(trainee: Trainee, assignment: Assignment) -> list[Factors]:
    """The tails of all trained pairs that have one."""
    found: list[Factors] = []
    for layer in assignment.trained:
        start = tail_start(assignment, layer)
        if start < assignment.rank_of(layer):
            for module in trainee.lora(layer).values():
                found.append((module.lora_A[ADAPTER].weight[start:], module.lora_B[ADAPTER].weight[:, start:]))
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
