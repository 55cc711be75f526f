"""Prefect's records of old rounds: a round keeps its task runs and its table while its tensors are kept, and then they go.

Without this the database grows with every round that anybody ever ran; the pages of what is deleted are used again. What a round
came to stands in the campaign's folder for ever. A Prefect server of the user's own has no such request: how long it keeps what is
its owner's to say (PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED).
"""

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.context import FlowRunContext

from tasks.session import Arm

ROUNDS_AT_ONCE = 16  # the request takes a thousand records, and a round has some ten


async def forget(arm: Arm, client: PrefectClient) -> None:
    """Delete the records of the rounds whose tensors are gone; a server that has no such request keeps them."""
    if context := FlowRunContext.get():
        for held in (context.run_results, context.task_run_assets):  # by every task until the flow ends: 20 kB a round
            held.clear()
    old = [number for number in arm.records if number < arm.number and number not in arm.folder.kept]
    for first in range(0, len(old), ROUNDS_AT_ONCE):
        part = old[first : first + ROUNDS_AT_ONCE]
        ids = {
            "task_runs": [str(id) for number in part for id in arm.records[number].task_runs],
            "artifacts": [str(id) for number in part for id in arm.records[number].artifacts],
        }
        try:
            await client.request("POST", "/fedquad/forget", json=ids)  # type: ignore[arg-type]  # not one of Prefect's own
        except httpx.HTTPStatusError:
            pass  # it has no such request
        except httpx.HTTPError:
            return  # out of reach: again with the next ones
        for number in part:
            del arm.records[number]
