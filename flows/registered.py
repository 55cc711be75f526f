"""What a fedquad worker starts for a flow run: the run's entry point, looked up in a table, and nothing else.

The deployment is read once more, here, where it counts: whatever was written into it since the worker looked, only its entry point
is used, and that only as a key. Prefect's own `prefect.engine` would run pull steps and import whatever is named.
"""

import asyncio
import importlib
import inspect
import os
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fedquad.errors import SpecError, quoted

if TYPE_CHECKING:
    from prefect import Flow

REGISTERED = ("flows.campaign.campaign", "flows.device.device", "flows.profile.profile")


def load(entrypoint: str | None) -> "Flow[..., Any]":
    """The flow of a registered entry point."""
    if entrypoint not in REGISTERED:
        raise SpecError(f"{quoted(entrypoint)} is no entry point of ours; there are: {', '.join(REGISTERED)}")
    module, _, name = entrypoint.rpartition(".")
    flow: Flow[..., Any] = getattr(importlib.import_module(module), name)
    return flow


def main() -> None:
    """Run the flow run that the worker names in the environment; ends the process as Prefect's engine does."""
    from prefect._internal.control_listener import configure_from_env
    from prefect.client.orchestration import get_client
    from prefect.engine import handle_engine_signals
    from prefect.flow_engine import run_flow

    configure_from_env()  # how the worker tells a cancellation from a crash
    run_id = UUID(os.environ["PREFECT__FLOW_RUN_ID"])
    with handle_engine_signals(run_id):
        with get_client(sync_client=True) as client:
            flow_run = client.read_flow_run(run_id)
            if flow_run.deployment_id is None:
                raise SpecError("this run is of no deployment")
            flow = load(client.read_deployment(flow_run.deployment_id).entrypoint)
        result: Any = run_flow(flow, flow_run=flow_run)
        if inspect.iscoroutine(result):
            asyncio.run(result)  # on the main thread, where Prefect hears SIGTERM


if __name__ == "__main__":
    main()
