"""Tell Prefect of the dead: a campaign that was killed leaves flow runs that stay Running for ever."""

import hashlib
import socket
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext
from prefect.states import Crashed


def campaign_tag(folder: Path) -> str:
    """The tag of a campaign's flow runs: its folder on this machine."""
    return "campaign-" + hashlib.sha256(f"{socket.gethostname()}:{folder}".encode()).hexdigest()[:12]


async def crash_dead_runs(tag: str) -> int:
    """Set unfinished runs of this campaign and their arms to Crashed; whoever holds its lock knows that they are dead. Tags our run.

    Only the campaign's run is tagged: tasks inherit tags, and ask the server for a concurrency slot for each.
    """
    context = FlowRunContext.get()
    ours = context.flow_run if context else None
    unfinished = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]))
    async with get_client() as client:
        tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]), state=unfinished)
        dead = [run for run in await client.read_flow_runs(flow_run_filter=tagged) if ours is None or run.id != ours.id]
        if dead:
            parents = FlowRunFilterParentFlowRunId(any_=[run.id for run in dead])
            dead += await client.read_flow_runs(
                flow_run_filter=FlowRunFilter(parent_flow_run_id=parents, state=unfinished)
            )
        for run in dead:
            gone: State[Any] = Crashed(message="its process ended without a word; found when it was resumed")
            await client.set_flow_run_state(run.id, gone, force=True)
        if ours is not None:
            await client.update_flow_run(ours.id, tags={*ours.tags, tag})
    return len(dead)
