"""HetLoRA's penalty on the rank's tail for all devices of a stack at once; the rule is that of penalties.py."""

import torch
from torch.nn import functional

from fedquad.learn.penalties import tail_start
from fedquad.learn.stacked import Stack
from fedquad.learn.stacked_lora import Pair


class Tails:
    """The tails of what each device trains, B in the campaign's unit."""

    def __init__(self, stack: Stack) -> None:
        device = stack.trainee.device
        self.strength = torch.tensor([work.assignment.local.tail_penalty for work in stack.works], device=device)
        self.tails: list[tuple[Pair, torch.Tensor, torch.Tensor]] = []  # A and B', which rows are tail, units
        for (layer, _), site in stack.sites.items():
            if site is None or site.learned is None:
                continue
            a, b = site.learned
            told = [work.assignment for work in stack.works[: len(a)]]
            row = torch.arange(a.shape[1])
            is_tail = torch.stack([(row >= tail_start(one, layer)) & (row < one.rank_of(layer)) for one in told])
            units = torch.tensor([stack.trainee.unit(one.rank_of(layer)) for one in told], device=device)
            if is_tail.any():
                self.tails.append(((a, b), is_tail[..., None].to(device), units))

    def sizes(self) -> torch.Tensor:
        """HetLoRA's s of each device: it prunes its rank where training made this smaller."""
        found = torch.zeros_like(self.strength)
        for (a, b), is_tail, units in self.tails:
            size = _norm(a * is_tail) * _norm(b * is_tail) / units
            found = found + functional.pad(size, (0, len(found) - len(size)))
        return found

    def add_penalty(self) -> bool:
        """Add each device's penalty to its gradients; say whether there was one."""
        if not self.tails or not self.strength.any():
            return False
        (self.strength * self.sizes()).sum().backward()  # type: ignore[no-untyped-call]
        return True


def _norm(of_each: torch.Tensor) -> torch.Tensor:
    norm: torch.Tensor = torch.linalg.vector_norm(of_each.flatten(1).float(), dim=1)
    return norm
