"""Sweep: every device trains a window of the layers its memory holds; the window moves down by its width each round."""

from dataclasses import replace

import numpy as np

from fedquad.rounds import aggregate
from fedquad.rounds.strategy import Strategy, World
from fedquad.strategies.fedlora import depths_that_fit, top_layers
from fedquad.types import Assignment, ServerState, Statuses

VARIANTS = ("down", "up")


def strategy(variant: str = "down", width: int = 2) -> Strategy:
    """Make the sweep; `width` is the most layers a device trains in a round."""

    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        depths = depths_that_fit(world.cost, statuses.memory_bytes)
        return tuple(
            sweep(top_layers(world, device, int(depths[device]), state.round + 1), state.round)
            for device in statuses.participants
            if depths[device]
        )

    def sweep(whole: Assignment, finished: int) -> Assignment:
        layers = whole.trained[::-1] if variant == "down" else whole.trained
        start = finished * width % len(layers)
        return replace(whole, trained=tuple(sorted(layers[start : start + width])))

    return Strategy(plan=plan, weigh=aggregate.by_examples)
