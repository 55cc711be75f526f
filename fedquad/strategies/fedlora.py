"""FedLoRA: vanilla federated LoRA fine-tuning, the yardstick of memory for every other method, and the file to read first.

Every device trains the LoRA of its top k layers, k being as many as its memory holds without any trick, and the server averages
each layer over the devices that trained it (Eq. 5, and Eq. 19 for unequal depths).

    depth       (default) each device its own k
    exclusive   only devices that hold all layers take part; nobody does in some rounds
    oracle      all layers on every device, whatever its memory: a reference for accuracy, not a method
"""

import numpy as np

from fedquad.prices.cost import CostModel
from fedquad.rounds.strategy import Strategy, World
from fedquad.types import Assignment, Ints, ServerState, Statuses

VARIANTS = ("depth", "exclusive", "oracle")


def strategy(variant: str = "depth") -> Strategy:
    """Make FedLoRA in one of its variants."""

    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        depths = depths_that_fit(world.cost, statuses.memory_bytes)
        if variant == "oracle":
            depths = np.full(len(statuses), world.layers)
        least = world.layers if variant == "exclusive" else 1
        return tuple(
            top_layers(world, device, int(depths[device]), state.round + 1)
            for device in statuses.participants
            if depths[device] >= least
        )

    return Strategy(
        plan=plan, memory_policy="flag" if variant == "oracle" else "strict", may_rest=variant == "exclusive"
    )


def depths_that_fit(cost: CostModel, memory_bytes: Ints) -> Ints:
    """k of each device: the most top layers whose training it has memory for, m_f + m_o k <= M; 0 when there is room for none."""
    constants = cost.constants
    return np.clip((memory_bytes - constants.m_f) // constants.m_o, 0, cost.layers)


def top_layers(world: World, device: int, depth: int, round: int, quantized: int = 0) -> Assignment:
    """The assignment (d, a): run all layers, train the top d, keep the lowest a of those in INT8."""
    lowest = world.layers - depth
    return Assignment(
        device=device,
        present=tuple(range(world.layers)),
        trained=tuple(range(lowest, world.layers)),
        quantized=tuple(range(lowest, lowest + quantized)),
        ranks=(world.rank,) * world.layers,
        steps=int(world.steps[device]),
        learning_rate=world.learning_rate(round),
    )
