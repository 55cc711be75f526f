"""Steps by time: all devices of a plan work until the round's one end, and together take the steps they were asked for.

    n_i(T) = floor((T - traffic_i) / step_i), within least n_i and most n_i       n_i: the steps that the spec asks of device i
    T      = the least with  sum of n_i(T) >= sum of n_i

The sum is met exactly, so that no method sees more examples than another: of the steps that end last, those are left out that end
latest (of several at once, the later in the plan). The bounds are training.least_steps and most_steps. Seconds are those that every
method plans with (pace.py). Who trains what is the method's own: `METHOD:paced` is any method's plan with its steps dealt out anew.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fedquad.prices import cost
from fedquad.rounds import prefix
from fedquad.rounds.strategy import Strategy, World
from fedquad.types import Assignment, Floats, Ints, ServerState, Statuses

ENOUGH = 1000  # steps that may end between two times before they are looked at one by one


def paced(strategy: Strategy) -> Strategy:
    """The same method with steps by time."""

    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        asked = prefix.placed(strategy.plan(state, statuses, world, rng), state, world)
        return prefix.placed(in_time(asked, statuses, world), state, world)

    return replace(strategy, plan=plan)


def in_time(assignments: Sequence[Assignment], statuses: Statuses, world: World) -> tuple[Assignment, ...]:
    """The assignments with their steps dealt out anew."""
    asked = np.array([one.steps for one in assignments], dtype=np.int64)
    priced = [cost.estimate(one, world.cost, statuses[one.device]) for one in assignments]
    step = np.array([one.compute_seconds for one in priced]) / np.maximum(asked, 1)
    traffic = np.array([one.communication_seconds for one in priced])
    least, most = bounds(asked, world.training.least_steps, world.training.most_steps)
    dealt = deal(int(asked.sum()), step, traffic, least, most)
    return tuple(replace(one, steps=int(steps)) for one, steps in zip(assignments, dealt))


def bounds(asked: Ints, least: float, most: float) -> tuple[Ints, Ints]:
    """The fewest and the most steps of each device, at least one."""
    fewest: Ints = np.maximum(np.ceil(asked * least), 1).astype(np.int64)
    greatest: Ints = np.floor(asked * most).astype(np.int64)
    return np.minimum(fewest, asked), np.maximum(greatest, asked)


def deal(total: int, step: Floats, traffic: Floats, least: Ints, most: Ints) -> Ints:
    """How many steps each device takes, `total` in all: those that end first."""
    if not len(step):
        return least

    def by(end: float) -> Ints:
        taken: Ints = np.clip((end - traffic) / step, least, most).astype(np.int64)
        return taken

    early, late = 0.0, 2 * float(np.max(traffic + most * step))
    before, after = by(early), by(late)
    while (after - before).sum() > max(ENOUGH, len(step)) and early < 0.5 * (early + late) < late:
        middle = 0.5 * (early + late)
        taken = by(middle)
        if taken.sum() < total:
            early, before = middle, taken
        else:
            late, after = middle, taken
    return _first(before, after, total - int(before.sum()), step, traffic)


def _first(before: Ints, after: Ints, missing: int, step: Floats, traffic: Floats) -> Ints:
    """So many more of the steps that end between two times: those that end first."""
    more = after - before
    device = np.repeat(np.arange(len(step)), more)
    nth = np.arange(len(device)) - np.repeat(np.cumsum(more) - more, more) + 1
    ends = traffic[device] + (before[device] + nth) * step[device]
    taken = before.copy()
    np.add.at(taken, device[np.argsort(ends, kind="stable")[:missing]], 1)
    return taken
