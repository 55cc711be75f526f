"""A method as a frozen record of functions, and the world it may know.

A strategy sees facts, never models, files or clocks. Only `plan` has no default, so that FedLoRA stays a page. A merge that is a
weighted sum is given as `weigh` and `apply`, which stream one update at a time; `combine` is for merges that need all at once.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fedquad import adapters, aggregate
from fedquad.aggregate import LayerWeights, Totals
from fedquad.cost import CostModel
from fedquad.spec import TrainingSpec
from fedquad.types import Adapter, Assignment, Floats, Ints, Memo, Report, ServerState, Statuses, Update


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """What a strategy may know besides the round: fixed for a campaign, the same for all its methods."""

    layers: int
    rank: int  # the campaign's LoRA rank r0
    cost: CostModel
    training: TrainingSpec
    examples: Ints  # per device
    rounds: int  # that the campaign will run at most
    memory_policy: Literal["strict", "flag"] = "strict"

    def steps(self, device: int) -> int:
        """Optimizer steps of a device's round: as specified, or one epoch."""
        return self.training.steps or -(-int(self.examples[device]) // self.training.batch)

    def learning_rate(self, round: int) -> float:
        """The rate of round `round` (from 1): cosine over the rounds, constant inside one (methods: decision 13)."""
        if self.training.schedule == "constant":
            return self.training.learning_rate
        return 0.5 * self.training.learning_rate * (1 + float(np.cos(np.pi * (round - 1) / self.rounds)))
