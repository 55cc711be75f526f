"""Device runs on their work pools: created, watched with one query a second for all of them, ended when nobody waits any more."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Cancelled, Cancelling, Crashed

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

PAGE = 200  # of the API
CONFLICT = 409
PARENT_WAITS = (0.2, 1.0, 3.0)  # for the round's task run, which Prefect writes down some time after it began
GRACE_SECONDS = 15.0  # for a worker to end a run that is to be cancelled
UNFINISHED = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED)
DEVICE_TAG = "fedquad-device"


class DeviceRuns:
    """The runs of one campaign on its devices."""

    def __init__(self, client: "PrefectClient", tag: str) -> None:
        self.client = client
        self.tag = tag
        self._deployments: dict[str, UUID] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def create(
        self, pool: str, queue: str, parameters: Mapping[str, Any], key: str, parent: UUID | None
    ) -> FlowRun:
        """Put a run into a device's queue; the same key finds the run that is there already."""
        if pool not in self._deployments:
            self._deployments[pool] = (await self.client.read_deployment_by_name(f"device/{pool}")).id
        for wait in (*PARENT_WAITS, None):
            try:
                return await self.client.create_flow_run_from_deployment(
                    self._deployments[pool],
                    parameters=dict(parameters),
                    name=str(parameters["name"]),
                    work_queue_name=queue,
                    idempotency_key=key,
                    tags=[DEVICE_TAG, self.tag],
                    parent_task_run_id=parent if wait is not None else None,
                )
            except PrefectHTTPStatusError as error:
                if wait is None or error.response.status_code != CONFLICT:
                    raise
                await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def look(self, ids: Iterable[UUID]) -> dict[UUID, FlowRun]:
        """Where these runs stand."""
        wanted, found = list(ids), {}
        for start in range(0, len(wanted), PAGE):
            chosen = FlowRunFilter(id=FlowRunFilterId(any_=wanted[start : start + PAGE]))
            found.update({run.id: run for run in await self.client.read_flow_runs(flow_run_filter=chosen, limit=PAGE)})
        return found

    def end(self, run_id: UUID, reason: str) -> None:
        """Have a run cancelled, and, if its worker is not there to do it, set it to Crashed; nobody waits for that."""
        task = asyncio.ensure_future(self._end(run_id, reason))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, run_id: UUID, reason: str) -> None:
        run = await self.client.read_flow_run(run_id)
        if run.state is None or run.state.is_final():
            return
        if run.state.is_scheduled():
            await self.client.set_flow_run_state(run_id, Cancelled(message=reason), force=True)
            return
        await self.client.set_flow_run_state(run_id, Cancelling(message=reason), force=True)
        await asyncio.sleep(GRACE_SECONDS)
        run = await self.client.read_flow_run(run_id)
        if run.state is not None and not run.state.is_final():
            gone: Any = Crashed(message=f"{reason}; its worker did not end it")
            await self.client.set_flow_run_state(run_id, gone, force=True)

    async def end_left(self) -> int:
        """End what an earlier coordinator of the campaign left; returns how many there were."""
        state = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(UNFINISHED)))
        left = FlowRunFilter(tags=FlowRunFilterTags(all_=[DEVICE_TAG, self.tag]), state=state)
        runs = await self.client.read_flow_runs(flow_run_filter=left, limit=PAGE)
        for run in runs:
            self.end(run.id, "its campaign was ended and begun again")
        return len(runs)

    async def close(self) -> None:
        """Wait for what is being ended."""
        await asyncio.gather(*self._ending, return_exceptions=True)
