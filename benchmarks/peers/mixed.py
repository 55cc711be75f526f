"""A method for the comparison alone: the devices train 3, 6, 9 or 12 layers in turn, whatever their memory."""

import numpy as np

from fedquad.rounds.strategy import Strategy, World
from fedquad.strategies.fedlora import top_layers
from fedquad.types import Assignment, ServerState, Statuses

DEPTHS = (3, 6, 9, 12)


def strategy() -> Strategy:
    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        return tuple(
            top_layers(world, device, DEPTHS[device % len(DEPTHS)], state.round + 1) for device in statuses.participants
        )

    return Strategy(plan=plan, memory_policy="flag")
