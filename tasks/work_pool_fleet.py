"""A fleet of real devices: every training is a flow run on its board's Prefect work pool, its seconds are those it reports.

Server and devices share a file system (or one machine, on loopback): jobs name files. A device that has not answered by the
deadline counts as lost after so long, and its run is cancelled.
"""

import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.deployments import arun_deployment
from prefect.states import Cancelling

from fedquad.errors import StoreError
from fedquad.fleets import fleet
from fedquad.learn.jobs import Open, to_json
from fedquad.prices.cost import CostModel
from fedquad.store import files
from fedquad.types import Statuses
from tasks.fleet import Answer, Job, in_order_of_arrival
from tasks.simulated_fleet import failed_answer

POLL_SECONDS = 1.0
ANSWER_BYTES = 2**24  # more than any answer; the gate knows its own exact bound


class WorkPoolFleet:
    """Devices behind work pools; which board is behind which pool is the spec's."""

    def __init__(self, drawn: fleet.Fleet, cost: CostModel, opening: Open, seed: int) -> None:
        self.drawn = drawn
        self.cost = cost
        self.opening = opening
        self.seed = seed

    async def statuses(self, round: int) -> Statuses:
        return fleet.draw(self.drawn, self.cost, self.seed, round)

    def train(self, jobs: Sequence[Job], *, round: int, attempt: int) -> AsyncIterator[Answer]:
        return in_order_of_arrival(self._train(job) for job in jobs)

    async def _train(self, job: Job) -> Answer:
        board = self.drawn.boards[self.drawn.board_of[job.device]].name
        pool = self.drawn.spec.pools[board]
        deadline, began = self.drawn.spec.deadline_seconds, time.monotonic()
        run = await arun_deployment(
            f"device/{pool}",
            parameters={"opening": to_json(self.opening), "job": to_json(job.train)},
            timeout=deadline,
            poll_interval=POLL_SECONDS,
        )
        waited = time.monotonic() - began
        left = Path(job.train.out).with_suffix(".answer.json")
        if run.state is not None and run.state.is_completed() and os.path.lexists(left):
            try:
                return Answer(job.device, files.read_bytes(left, ANSWER_BYTES), waited)
            except StoreError as error:
                return failed_answer(job, str(error), waited)
        reason = f"no answer from work pool {pool!r} within {deadline:.0f} s"
        if run.state is None or not run.state.is_final():
            await cancel(run.id)
        else:
            reason = f"its flow run ended as {run.state.name}: {run.state.message or 'no message'}"
        return failed_answer(job, reason, time.monotonic() - began)


async def cancel(flow_run_id: Any) -> None:
    async with get_client() as client:
        await client.set_flow_run_state(flow_run_id, Cancelling(message="past its deadline"), force=True)
