"""Runs whose process died with its worker stay Running for ever; Prefect can tell by their heartbeat, which stops.

Beside our own reaper (flows/reap.py): that one knows, by a campaign's lock, that its runs are dead, and acts when the campaign is
started again; this one guesses by time, for every run of the server, and acts by itself. docs/deploy.md says when which does what.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

SILENT_FOR = timedelta(minutes=10)  # three heartbeats of 180 s and one for a server that was away
ENDS = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}


def zombies(within: timedelta = SILENT_FOR) -> AutomationCore:
    """Crash a run that has shown no sign of life for so long after one."""
    return AutomationCore(
        name="fedquad: crash runs without a heartbeat",
        description=f"A run whose heartbeat stopped {within} ago without an end has lost its process.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *ENDS},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=within,
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                force=False,  # so that a run that has ended stays as it is: triggers miss ends now and then
                message="its heartbeat stopped: its process is gone, or its machine",
            )
        ],
    )


async def provision(client: "PrefectClient") -> None:
    """Make the automation, once: whoever changed it or turned it off in the UI meant it."""
    wanted = zombies()
    if not await client.find_automation(wanted.name):
        await client.create_automation(wanted)
