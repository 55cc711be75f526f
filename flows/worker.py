"""The worker type `fedquad`: runs this project's registered flows and nothing else, whoever asks.

A process worker runs what a pool's template, a deployment or a run names: a command, an environment, a folder, pull steps, any
entry point. This one refuses all of these, looks at nothing else of a template, and forks a process that runs `flows.registered`,
which looks the entry point up in a table; so what changes on the server between the check and the start changes nothing either.

    prefect worker start --pool campaigns --type fedquad
    await FedquadWorker(work_pool_name="jetson-agx", work_queues=["agx-07"], limit=1).start()
"""

import os
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.abc
from prefect.client.schemas.objects import FlowRun
from prefect.runner._flow_run_executor import FlowRunExecutorContext
from prefect.settings import get_current_settings
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from fedquad.errors import SpecError, quoted
from fedquad.store.campaign import home
from flows.forks import Forks, ForkStarter
from flows.registered import REGISTERED

TAKEN = ("name", "labels", "stream_output")  # what a template may mention; it has no effect either
TEMPLATE: dict[str, Any] = {  # Prefect wants at least one setting in it
    "job_configuration": {"name": "{{ name }}"},
    "variables": {
        "type": "object",
        "properties": {
            "name": {
                "type": "string",
                "title": "Name",
                "description": "Has no effect: a run takes no settings of its process.",
            }
        },
    },
}


class FedquadJob(ProcessJobConfiguration):
    """A run's process: always the same."""

    @classmethod
    async def from_template_and_values(
        cls, base_job_template: dict[str, Any], values: dict[str, Any], client: Any = None
    ) -> "FedquadJob":
        """Refuse a template or values that ask for anything; take nothing from them, so that nothing is resolved."""
        refuse(base_job_template.get("job_configuration"), "the pool's template")
        refuse((base_job_template.get("variables") or {}).get("properties"), "the pool's template")
        refuse(values, "the run or its deployment")
        return cls()

    def prepare_for_flow_run(self, flow_run: FlowRun, deployment: Any = None, *others: Any, **named: Any) -> None:
        """Refuse a deployment that is not one of ours, then set what every process of ours is given."""
        check(deployment)
        super().prepare_for_flow_run(flow_run, deployment, *others, **named)
        self.env = {**self.env, **given()}


def given() -> dict[str, str]:
    """What every process of ours is given."""
    return {"FEDQUAD_HOME": str(home()), "PYTHONSAFEPATH": "1"}  # nothing is imported from the folder it runs in


def refuse(asked: Mapping[str, Any] | None, who: str) -> None:
    """Refuse any setting of a process that we do not know to be harmless."""
    wrong = sorted({str(key).partition(".")[0] for key in asked or {}} - set(TAKEN))
    if wrong:
        raise SpecError(
            f"{who} asks for {', '.join(map(quoted, wrong))}, which a fedquad worker takes from nobody; take it out (a pool made by "
            f"`fedquad up` has none)"
        )


def check(deployment: Any) -> None:
    """Refuse a run that is not of a deployment, and a deployment that names or fetches other code."""
    if deployment is None:
        raise SpecError("a fedquad worker runs deployments only, and this run is of none")
    if deployment.pull_steps:
        raise SpecError(
            f"deployment {quoted(deployment.name)} has pull steps, which are code; a fedquad worker runs none"
        )
    if deployment.storage_document_id:
        raise SpecError(
            f"deployment {quoted(deployment.name)} fetches its code; a fedquad worker runs what is installed"
        )
    if deployment.entrypoint not in REGISTERED:
        raise SpecError(
            f"deployment {quoted(deployment.name)} names {quoted(deployment.entrypoint)}; a fedquad worker runs {', '.join(REGISTERED)}"
        )


class FedquadWorker(ProcessWorker):
    """Polls a pool, and runs each run in a process of its own."""

    type = "fedquad"
    job_configuration = FedquadJob
    _display_name = "FedQuad"
    _description = "Run FedQuad's campaigns, profiles and device trainings; runs nothing else, whatever a pool or a deployment says."
    _documentation_url = ""
    _logo_url = ""

    @classmethod
    def get_default_base_job_template(cls) -> dict[str, Any]:
        return TEMPLATE

    async def setup(self) -> None:
        """Have the process that forks import what runs need, while we look for one."""
        await super().setup()
        settings = get_current_settings().to_environment_variables(exclude_unset=True)
        self.forks = Forks({**os.environ, **settings, **given()})
        await self.forks.start()

    async def teardown(self, *exc_info: Any) -> None:
        await super().teardown(*exc_info)
        await self.forks.close()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Fork, and wait for the run's end; ProcessWorker's own `run` would load the deployment's code for its hooks."""
        async with FlowRunExecutorContext() as context, anyio.create_task_group() as group:
            starter = ForkStarter(self.forks, configuration.env, context.control_channel)
            executor = context.create_executor(flow_run, starter, hook_runner=NoHooks(), propose_submitting=False)
            ended: list[Any] = []

            async def execute(task_status: anyio.abc.TaskStatus[Any] = anyio.TASK_STATUS_IGNORED) -> None:
                ended.append(await executor.submit(task_status=task_status))

            handle = await group.start(execute)
            if task_status is not None:
                task_status.started(handle.pid)
        if not ended or ended[0] is None or ended[0].status_code is None:
            raise RuntimeError("the flow run's process did not start")
        return ProcessWorkerResult(status_code=ended[0].status_code, identifier=str(ended[0].handle.pid))


class NoHooks:
    """Our flows have no hooks on cancellation and crash; another's would be foreign code."""

    async def run_cancellation_hooks(self, flow_run: FlowRun, state: Any) -> None:
        pass

    async def run_crashed_hooks(self, flow_run: FlowRun, state: Any) -> None:
        pass
