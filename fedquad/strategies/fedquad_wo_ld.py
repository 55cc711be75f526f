"""FedQuad without adaptive LoRA depth (ablation): no reward, no cap; each device as deep as quantization takes it.

maximum   (default) a = d - 1: "the maximum possible number of quantized layers under memory constraints"
minimum   the least a with which that depth fits
"""

from dataclasses import replace

import numpy as np

from fedquad.rounds import acs
from fedquad.rounds.strategy import Strategy, World
from fedquad.strategies import fedquad
from fedquad.types import Assignment, ServerState, Statuses

VARIANTS = ("maximum", "minimum")


def strategy(variant: str = "maximum") -> Strategy:
    """Make the ablation in one of its readings."""

    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        devices = fedquad.describe(statuses, world)
        choices = acs.choose_deepest(devices, world.cost.constants, world.layers)
        if variant == "maximum":
            choices = replace(choices, quantized=np.maximum(choices.depth - 1, 0))
        there = np.array(statuses.participants, dtype=np.int64)
        return fedquad.assignments(choices, there, world, state.round + 1)

    return Strategy(plan=plan)
