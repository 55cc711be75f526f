"""FedQuad: LoRA depth and activation quantization chosen together, per device and round (fedquad/rounds/acs.py).

The rule is the variant, or the parameter `acs`:

    default    candidates that end by t_avg + theta (Eq. 14), the greatest reward of those
    literal    Algorithm 1 as printed, without theta
    deadline   beyond the paper: the round's end and every configuration together
    paced      beyond the paper: what brings most a second, and steps until the round's one end (fedquad/rounds/paced.py)

A device that has no memory for even one trained layer trains the head alone; one that cannot load the model is left
out.
"""

from dataclasses import replace

import numpy as np

from fedquad.errors import one_of
from fedquad.prices.cost import Constants
from fedquad.rounds import acs as selection
from fedquad.rounds import aggregate, prefix
from fedquad.rounds.paced import paced
from fedquad.rounds.strategy import Strategy, World
from fedquad.strategies.fedlora import top_layers
from fedquad.types import Assignment, Ints, ServerState, Statuses

VARIANTS = selection.RULES
MERGES = {
    "mean": aggregate.uniform,
    "steps": aggregate.by_steps,
    "normalised": aggregate.per_length(aggregate.uniform),
}


def strategy(
    variant: str = "",
    *,
    acs: str = "default",
    theta: float = 0.5,
    c: float = 1e-4,
    is_relative: bool = False,
    power: float = 1.0,
    merge: str = "mean",
    is_quantizing: bool = True,
) -> Strategy:
    """Make FedQuad; theta is a share of t_avg, c seconds (a share of t_avg when the gap is taken as one).

    `merge` says what counts alike where devices take unlike numbers of steps: every step (`mean`), or every device (`normalised`).
    """
    settings = selection.settings(variant, acs=acs, theta=theta, c=c, is_relative=is_relative, power=power)
    if merge not in MERGES:
        raise one_of("merge of fedquad", merge, list(MERGES))

    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        there = np.array(statuses.participants, dtype=np.int64)
        devices = describe(statuses, world, prefix.outlook(state, statuses, world, there))
        constants = constants_of(world, is_quantizing)
        rule = replace(settings, least=world.training.least_steps)
        choices = selection.decide(rule, devices, constants, state.gradient_norms, state.mean_seconds)
        return assignments(choices, there, world, state.round + 1)

    made = Strategy(plan=plan, weigh=MERGES[merge], adapts_depth=True)
    return paced(made) if settings.rule == "paced" else made


def describe(statuses: Statuses, world: World, outlook: selection.Outlook | None = None) -> selection.Devices:
    """The participants in ACS's terms."""
    there = np.array(statuses.participants, dtype=np.int64)
    return selection.describe(world.cost, statuses, world.steps[there], there, outlook)


def constants_of(world: World, is_quantizing: bool) -> Constants:
    """Eq. 11 with or without quantization: a layer that saves nothing is never quantized."""
    constants = world.cost.constants
    return constants if is_quantizing else replace(constants, m_q=0)


def assignments(choices: selection.Choices, there: Ints, world: World, round: int) -> tuple[Assignment, ...]:
    """Spell out (d, a) for every device that is not skipped."""
    rows = zip(there, choices.depth, choices.quantized, choices.fallback)
    return tuple(
        top_layers(world, int(device), int(depth), round, int(quantized))
        for device, depth, quantized, fallback in rows
        if fallback != selection.SKIP
    )
