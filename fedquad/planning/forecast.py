"""Rounds on paper: how long a fleet would take under a rule of selection, and who would wait, without training
anything.

The gradient norms are given instead of measured (1 in the first round, when nothing is known), and t_avg is the round
before's mean completion time, as in a campaign.
"""

from dataclasses import dataclass, replace

import numpy as np

from fedquad.fleets import fleet as fleets
from fedquad.fleets.fleet import Fleet
from fedquad.prices.cost import Constants, CostModel
from fedquad.rounds import acs, paced
from fedquad.rounds.acs import Choices, Devices, Settings
from fedquad.spec import TrainingSpec
from fedquad.types import Floats, Ints, Statuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round would come to."""

    round_seconds: float
    mean_wait_seconds: float
    mean_seconds: float
    mean_depth: float
    mean_quantized: float
    bottom_devices: float  # that train the lowest layer
    fallbacks: float  # that have no candidate in time, or none at all


def select(
    rule: Settings | None, devices: Devices, constants: Constants, gradient_norms: Floats, mean_seconds: float
) -> Choices:
    """Choose by a rule of ACS, or as vanilla FedLoRA when there is none."""
    if rule is None:
        return acs.choose_unquantized(devices, constants, len(gradient_norms))
    return acs.decide(rule, devices, constants, gradient_norms, mean_seconds)


def in_time(
    choices: Choices, cost: CostModel, statuses: Statuses, there: Ints, steps: Ints, training: TrainingSpec
) -> tuple[Choices, Ints]:
    """The choices with steps by time (rounds/paced.py), and each device's steps; `steps` is what each is asked."""
    asked = choices.fallback != acs.SKIP
    up, down, adapter = statuses.upload_bandwidth[there], statuses.download_bandwidth[there], cost.wire_bytes
    traffic = (cost.head_bytes + choices.depth.astype(np.float64) * adapter) / up + (
        cost.head_bytes + cost.layers * adapter
    ) / down
    step = (choices.seconds - traffic) / steps
    least, most = paced.bounds(steps, training.least_steps, training.most_steps)
    dealt = np.zeros_like(steps)
    dealt[asked] = paced.deal(int(steps[asked].sum()), step[asked], traffic[asked], least[asked], most[asked])
    return replace(choices, seconds=np.where(asked, traffic + dealt * step, 0.0)), dealt


def summarize(choices: Choices, layers: int) -> Round:
    """The round that such choices make; skipped devices are not waited for."""
    asked = choices.fallback != acs.SKIP
    if not asked.any():
        return Round(
            round_seconds=0.0,
            mean_wait_seconds=0.0,
            mean_seconds=0.0,
            mean_depth=0.0,
            mean_quantized=0.0,
            bottom_devices=0,
            fallbacks=len(asked),
        )
    seconds, depth = choices.seconds[asked], choices.depth[asked]
    return Round(
        round_seconds=float(seconds.max()),
        mean_wait_seconds=float(np.mean(seconds.max() - seconds)),
        mean_seconds=float(seconds.mean()),
        mean_depth=float(depth.mean()),
        mean_quantized=float(choices.quantized[asked].mean()),
        bottom_devices=int(np.sum(depth == layers)),
        fallbacks=int(np.sum(choices.fallback != 0)),
    )


def forecast(
    fleet: Fleet,
    cost: CostModel,
    rule: Settings | None,
    *,
    seed: int,
    rounds: int,
    steps: int | Ints,
    gradient_norms: Floats,
    training: TrainingSpec | None = None,
) -> tuple[Round, ...]:
    """Play so many rounds; `steps` is each device's, `gradient_norms` what is measured from the first round on."""
    every, played = np.broadcast_to(np.asarray(steps, dtype=np.int64), len(fleet)), []
    norms, mean = np.ones(cost.layers), 0.0
    for round in range(1, rounds + 1):
        statuses = fleets.draw(fleet, cost, seed, round)
        there = np.flatnonzero(statuses.available)
        devices = acs.describe(cost, statuses, every[there], there)
        choices = select(rule, devices, cost.constants, norms, mean)
        if rule is not None and rule.rule == "paced":
            choices, _ = in_time(choices, cost, statuses, there, every[there], training or TrainingSpec())
        played.append(summarize(choices, cost.layers))
        norms, mean = gradient_norms, played[-1].mean_seconds
    return tuple(played)
