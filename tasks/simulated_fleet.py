"""A fleet on this machine: trains for real in a pool of processes, charges the seconds that the cost model predicts.

With `jitter` the time really charged differs from the predicted, so that a method cannot profit from a perfectly known clock. Who
drops out and how long they take depend on (seed, attempt, round, device), never on the method.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from fedquad import wire
from fedquad.fleets import fleet
from fedquad.learn.jobs import Cohort
from fedquad.learn.pool import WorkerDied
from fedquad.prices.cost import CostModel
from fedquad.types import Statuses
from tasks.engine import Engine
from tasks.fleet import Answer, Job, in_order_of_arrival


class SimulatedFleet:
    """Devices drawn from (fleet, seed), trained on a pool."""

    def __init__(self, drawn: fleet.Fleet, cost: CostModel, pool: Engine, seed: int) -> None:
        self.drawn = drawn
        self.cost = cost
        self.pool = pool
        self.seed = seed

    async def statuses(self, round: int) -> Statuses:
        return fleet.draw(self.drawn, self.cost, self.seed, round)

    def train(self, jobs: Sequence[Job], *, round: int, attempt: int) -> AsyncIterator[Answer]:
        fates = fleet.fates(self.drawn, self.seed, attempt, round)
        return in_order_of_arrival(self._train_part(part, fates) for part in _together(jobs, fates))

    async def _train_part(self, jobs: Sequence[Job], fates: fleet.Fates) -> list[Answer]:
        """Train what goes to one process: a cohort, or one device; a cohort whose process is lost twice is tried one by one."""
        seconds = [_seconds(fates, job) for job in jobs]
        if jobs[0].cohort is not None and not fates.dropped[jobs[0].device]:
            with suppress(WorkerDied):
                answers = (await self.pool.do(Cohort(members=tuple(job.train for job in jobs))))["answers"]
                return [_answer(*one) for one in zip(jobs, answers, seconds)]
        return [await self._train(job, took, bool(fates.dropped[job.device])) for job, took in zip(jobs, seconds)]

    async def _train(self, job: Job, seconds: float, is_dropped: bool) -> Answer:
        failure = "it never answered" if is_dropped else ""
        answer: dict[str, Any] = {}
        if not failure:
            try:
                answer = await self.pool.do(job.train)
            except WorkerDied as death:
                failure = f"its training process died twice ({death})"
        return failed_answer(job, failure, seconds) if failure else _answer(job, answer, seconds)


def _together(jobs: Sequence[Job], fates: fleet.Fates) -> list[list[Job]]:
    """Jobs by process: the cohorts, without those who will drop out, and everybody else alone; in the order they came."""
    parts: dict[tuple[str, int], list[Job]] = {}
    for job in jobs:
        is_in = job.cohort is not None and not fates.dropped[job.device]
        parts.setdefault(("cohort", job.cohort) if is_in else ("device", job.device), []).append(job)  # type: ignore[arg-type]
    return list(parts.values())


def _answer(job: Job, answer: dict[str, Any], seconds: float) -> Answer:
    return Answer(job.device, json.dumps(charged(answer, seconds)).encode(), seconds)


def _seconds(fates: fleet.Fates, job: Job) -> float:
    """What a job takes: as a replayed run took, or as predicted and a little off."""
    if fates.seconds is not None and fates.seconds[job.device] == fates.seconds[job.device]:
        return float(fates.seconds[job.device])
    return job.estimate.seconds * float(fates.time_factor[job.device])


def charged(answer: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The answer with the fleet's seconds in place of this machine's."""
    report = answer.get("report")
    return {**answer, "report": {**report, "seconds": seconds}} if isinstance(report, dict) else answer


def failed_answer(job: Job, failure: str, seconds: float) -> Answer:
    """The answer of a device that has none, in the form of any other; the time it was waited for is part of it."""
    update = wire.failed(job.device, job.train.round, job.train.digest, failure, seconds)
    return Answer(job.device, json.dumps(wire.answer(update)[0]).encode(), seconds)
