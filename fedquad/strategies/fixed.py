"""The same layers on every device, whatever it has room for: an instrument to look at layers with, not a method.

`depth` layers are trained, the highest of them `below` layers under the output's, and the lowest `quantized` of them keep INT8
activations. The paper's Layers-M of twelve is depth 4, below 4 (Fig. 2); its (8, 5) is depth 8, quantized 5 (Fig. 4b).
"""

from dataclasses import replace

import numpy as np

from fedquad.errors import SpecError
from fedquad.rounds.strategy import Strategy, World
from fedquad.strategies.fedlora import top_layers
from fedquad.types import Assignment, ServerState, Statuses


def strategy(depth: int = 0, below: int = 0, quantized: int = 0) -> Strategy:
    """Make it; a depth of 0 means all layers under the output's `below`."""
    if min(depth, below, quantized) < 0 or quantized > depth > 0:
        raise SpecError(
            f"depth {depth}, below {below}, quantized {quantized}: they are not negative, and no more layers are quantized than trained"
        )

    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        top = world.layers - below
        lowest = top - (depth or top)
        if lowest < 0 or top < 1 or lowest + quantized > top:
            raise SpecError(
                f"depth {depth}, below {below}, quantized {quantized} is more than a model of {world.layers} layers has"
            )
        whole = (top_layers(world, device, world.layers, state.round + 1) for device in statuses.participants)
        trained, compressed = tuple(range(lowest, top)), tuple(range(lowest, lowest + quantized))
        return tuple(replace(one, trained=trained, quantized=compressed) for one in whole)

    return Strategy(plan=plan, memory_policy="flag")
