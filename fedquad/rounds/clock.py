"""The fleet's time: a round lasts until its last answer (the barrier), and everyone else waits (Eq. 13).

    t_h = max_i t_i        w_h = mean_i (t_h - t_i)        Eq. 14 holds when w_h <= theta

A device that fails or falls silent is noticed when it was due, so it holds the round up like any other, but it is no part of
the mean completion time that the next round plans with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long a round took, and how unevenly."""

    round_seconds: float
    mean_seconds: float  # of those that answered; 0 if nobody did
    mean_wait_seconds: float  # of those that answered


def barrier(seconds: Sequence[float], answered: Sequence[bool]) -> Timing:
    """Time a round in which device i was done, or due, after seconds[i]."""
    if not len(seconds):
        return Timing(round_seconds=0.0, mean_seconds=0.0, mean_wait_seconds=0.0)
    last = float(np.max(seconds))
    times = np.asarray(seconds, dtype=np.float64)[np.asarray(answered, dtype=bool)]
    mean = float(times.mean()) if len(times) else 0.0
    return Timing(round_seconds=last, mean_seconds=mean, mean_wait_seconds=last - mean if len(times) else 0.0)
