"""Tell Prefect of the dead: a campaign that was killed leaves flow runs that stay Running for ever."""

import hashlib
import socket
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, FlowRunFilterTags
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.states import Crashed


def campaign_tag(folder: Path) -> str:
    """The tag of all flow runs of a campaign: its folder on this machine."""
    return "campaign-" + hashlib.sha256(f"{socket.gethostname()}:{folder}".encode()).hexdigest()[:12]


async def crash_dead_runs(tag: str) -> int:
    """Set unfinished runs of this campaign to Crashed; whoever holds its lock, as we do, knows that they are dead. Tags our own run."""
    context = FlowRunContext.get()
    ours = context.flow_run.id if context and context.flow_run else None
    unfinished = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]))
    async with get_client() as client:
        found = FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]), state=unfinished)
        dead = await client.read_flow_runs(flow_run_filter=found)
        for run in dead:
            if run.id != ours:
                await client.set_flow_run_state(
                    run.id, Crashed(message="its process ended without a word; found when it was resumed"), force=True
                )
        if ours is not None and context and context.flow_run:
            await client.update_flow_run(ours, tags={*context.flow_run.tags, tag})
    return len(dead)
