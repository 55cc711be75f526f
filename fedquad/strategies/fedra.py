"""FedRA (Su et al., ECCV 2024): every round each device trains a smaller model made of layers drawn at random.

    n_i = floor((L m_w + k_i m_o) / (m_w + m_o))     layers that fit device i: those left out free their weights too
    P_i in {0, 1}^L with n_i ones, uniform without replacement, for each device and round anew
    theta_l <- sum_i P_il theta_i,l / sum_i P_il     unchanged where the sum is 0; the head over everyone

The drawn layers run in ascending order, embeddings before and head after them; the others are skipped, in the forward
pass too, and their compact slot is their place in `present`. Evaluated is the full model.

Decisions. A layer that nobody drew stays as it is (the published code has a repair for that, commented out). A device
is taken to store all frozen weights, so nothing but LoRA is downloaded. `conversion: equal_depth` gives n_i = k_i,
which denies FedRA the memory of the weights it leaves out. Half of a deep encoder's layers is not a good encoder: that
weakness is FedRA's own.
"""

from typing import Literal

import numpy as np

from fedquad.errors import one_of
from fedquad.prices.cost import CostModel
from fedquad.rounds.strategy import Strategy, World
from fedquad.strategies.fedlora import depths_that_fit
from fedquad.types import Assignment, Ints, ServerState, Statuses

Conversion = Literal["memory", "equal_depth"]
CONVERSIONS: tuple[Conversion, ...] = ("memory", "equal_depth")


def strategy(conversion: Conversion = "memory") -> Strategy:
    """Make FedRA."""
    check(conversion)

    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        sizes = sizes_that_fit(conversion, world.cost, statuses.memory_bytes)
        there = [device for device in statuses.participants if sizes[device]]
        drawn = {device: rng.choice(world.layers, int(sizes[device]), replace=False) for device in there}
        return tuple(
            submodel(world, device, tuple(sorted(map(int, drawn[device]))), state.round + 1) for device in there
        )

    return Strategy(plan=plan)


def check(conversion: Conversion) -> None:
    if conversion not in CONVERSIONS:
        raise one_of("capacity conversion", conversion, CONVERSIONS)


def sizes_that_fit(conversion: Conversion, cost: CostModel, memory_bytes: Ints) -> Ints:
    """n of each device: the most layers it can load and train when the others are not loaded at all."""
    if conversion == "equal_depth":
        return depths_that_fit(cost, memory_bytes)
    size = cost.bytes
    layer = size.weights + cost.rank * size.lora_per_rank + size.trained
    return np.clip((memory_bytes - cost.fixed_bytes) // layer, 0, cost.layers)


def submodel(world: World, device: int, layers: tuple[int, ...], round: int) -> Assignment:
    """Load these layers alone, and train all of them."""
    return Assignment(
        device=device,
        present=layers,
        trained=layers,
        ranks=(world.rank,) * len(layers),
        steps=int(world.steps[device]),
        learning_rate=world.learning_rate(round),
    )
