"""How fast devices really are: seconds measured over predicted, a moving average a device.

    pace <- rho pace + (1 - rho) measured / predicted at pace 1          rho = 0.8; the first measurement counts whole
    q    <- q / pace                                                      what every method plans with

A device that has not answered yet is taken to be off by what is usual on this fleet: the median of those that have. Only
computing is corrected: what the transfers were predicted to take is taken off what was measured first.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from fedquad.types import CostEstimate, Floats, Statuses

RHO = 0.8
LEAST_SHARE = 1 / 16  # of the predicted seconds: a device whose transfers ate all its time still computed something


def in_own_seconds(statuses: Statuses, pace: Floats) -> Statuses:
    """The statuses with the speeds that the devices have shown."""
    if not np.isfinite(pace).any():
        return statuses
    known = assumed(pace)
    return replace(statuses, flops=statuses.flops / known, memory_bandwidth=statuses.memory_bandwidth / known)


def assumed(pace: Floats) -> Floats:
    """Every device's pace, also of those that have shown none."""
    known = np.isfinite(pace)
    usual = float(np.median(pace[known])) if known.any() else 1.0
    return np.where(known, pace, usual)


def after(pace: Floats, answers: Iterable[tuple[CostEstimate, float, int]]) -> Floats:
    """The paces once (estimate, seconds, device) have been seen; each estimate was made at the pace assumed of its device."""
    used, moved = assumed(pace), pace.copy()
    for estimate, seconds, device in answers:
        computing = estimate.compute_seconds
        shown = used[device] * max(seconds - estimate.communication_seconds, LEAST_SHARE * computing) / computing
        moved[device] = shown if np.isnan(pace[device]) else RHO * pace[device] + (1 - RHO) * shown
    return moved
