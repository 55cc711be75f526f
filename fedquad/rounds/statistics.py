"""What curves say of their arms: pure functions from points to numbers, and from numbers over seeds to words.

A curve is its evaluations in order: (cost, score) with the cost from 0 on, in seconds, joules or bytes of the fleet. Between two
evaluations it is the line between them. A speed-up is a seed's own, other's time over ours, because both had the same split, trace
and start; its mean is over the seeds, and its interval holds 95 of 100 means of seeds drawn again with replacement.

    curve = [(0.0, 0.33), (10.0, 0.53), (20.0, 0.73)]
    crossing(curve, 0.63)    # 15.0
    value_at(curve, 5.0)     # 0.43
    speed_up({0: 15.0, 1: 20.0}, {0: 30.0, 1: 30.0}).mean   # 1.75
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedquad.rng import stream

Curve = Sequence[tuple[float, float]]
Times = Mapping[int, float | None]  # by seed; None where the target was not reached
DRAWS = 10_000
SHARE = 0.95
LEARNING = 0.5  # of the greatest gain; who gains less hardly learns


def smoothed(curve: Curve, last: int = 1) -> list[tuple[float, float]]:
    """Each evaluation as the mean of the last so many, fewer at the beginning."""
    scores = [score for _, score in curve]
    return [(cost, float(np.mean(scores[max(0, at - last + 1) : at + 1]))) for at, (cost, _) in enumerate(curve)]


def crossing(curve: Curve, goal: float) -> float | None:
    """At which cost the curve first is at the goal; a curve that begins there says its first cost."""
    before: tuple[float, float] | None = None
    for cost, score in curve:
        if score >= goal:
            if before is None:
                return cost
            return before[0] + (goal - before[1]) / (score - before[1]) * (cost - before[0])
        before = (cost, score)
    return None


def value_at(curve: Curve, cost: float) -> float | None:
    """The score at a cost; none before the first evaluation or beyond the last."""
    if not curve or not curve[0][0] <= cost <= curve[-1][0]:
        return None
    return float(np.interp(cost, [one for one, _ in curve], [score for _, score in curve]))


def area(curve: Curve, low: float, high: float) -> float | None:
    """Area under the curve between two costs, over their distance: the mean score on the way."""
    ends = value_at(curve, low), value_at(curve, high)
    if None in ends or high <= low:
        return None
    inside = [(cost, score) for cost, score in curve if low < cost < high]
    costs, scores = zip((low, ends[0]), *inside, (high, ends[1]))
    return float(np.trapezoid(scores, costs)) / (high - low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Numbers of several seeds: their mean, their standard deviation, and the interval of the mean (none for one seed)."""

    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    count: int


def spread(values: Sequence[float], draw: np.random.Generator | None = None) -> Spread:
    """Mean, sample standard deviation, and bootstrap interval; one number has neither of the last two."""
    found = np.asarray(values, dtype=np.float64)
    if len(found) == 1:
        return Spread(mean=float(found[0]), deviation=None, low=None, high=None, count=1)
    low, high = interval(found, draw)
    return Spread(mean=float(found.mean()), deviation=float(found.std(ddof=1)), low=low, high=high, count=len(found))


def interval(values: Sequence[float] | np.ndarray, draw: np.random.Generator | None = None) -> tuple[float, float]:
    """What holds 95 of 100 means of these numbers drawn again with replacement; the draw is the same every time."""
    found = np.asarray(values, dtype=np.float64)
    drawn = (draw or stream("bootstrap")).choice(found, (DRAWS, len(found))).mean(axis=1)
    low, high = np.quantile(drawn, ((1 - SHARE) / 2, (1 + SHARE) / 2))
    return float(low), float(high)


def ratios(ours: Times, others: Times) -> dict[int, float] | None:
    """How many times sooner we were, seed by seed; none if one of our seeds has no partner that reached the target too."""
    pairs = {seed: (mine, others.get(seed)) for seed, mine in ours.items()}
    if not pairs or any(not mine or other is None for mine, other in pairs.values()):
        return None
    return {seed: other / mine for seed, (mine, other) in pairs.items() if mine and other is not None}


def speed_up(ours: Times, others: Times, draw: np.random.Generator | None = None) -> Spread | None:
    """How many times sooner, paired by seed."""
    found = ratios(ours, others)
    return spread(list(found.values()), draw) if found else None


def is_told_apart(found: Spread) -> bool | None:
    """Whether an interval of ratios leaves 1 out; unknown of one seed."""
    if found.low is None or found.high is None:
        return None
    return not found.low <= 1 <= found.high


def hardly_learn(gains: Mapping[str, float]) -> tuple[str, ...]:
    """Who gains less than half of what the best does, by label."""
    most = max(gains.values(), default=math.nan)
    return tuple(label for label, gain in gains.items() if gain < LEARNING * most)
