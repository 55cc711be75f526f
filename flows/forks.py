"""The worker's side of flows/forked.py: a process for each flow run, forked from one that has Prefect imported already.

forks = Forks(environment)
await forks.start()                                        # imports for seconds; nobody needs to wait for it
run = await forks.run({"PREFECT__FLOW_RUN_ID": ...})       # run.pid; what is not named is as in `environment`
await run.wait()                                           # its exit code
await forks.close()                                        # runs go on
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.abc
from prefect.client.schemas.objects import FlowRun
from prefect.runner._control_channel import ControlChannel
from prefect.runner._process_manager import ProcessHandle, create_isolated_termination_scope

LOST = -signal.SIGKILL  # as the exit code of a run whose end nobody is left to tell


@dataclass(slots=True)
class Run:
    """A flow run's process; not a child of ours."""

    pid: int
    answers: asyncio.StreamReader
    writer: asyncio.StreamWriter  # nothing is written, but without it the socket is closed
    returncode: int | None = None

    async def wait(self) -> None:
        """Wait for its end, and for its exit code; it is ended where nobody is left to tell them."""
        line = await self.answers.readline()
        self.returncode = int(line or LOST)
        self.writer.close()
        if not line:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


class Forks:
    """The process that forks; one that has died is replaced when it is needed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None
        self._channel: socket.socket | None = None

    async def start(self) -> None:
        """Start it, in the place of one there may have been."""
        await self.close()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "flows.forked", str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                env=self.environment,
                start_new_session=True,  # Ctrl-C is for the worker, which then ends its runs
            )  # fmt: skip

    async def run(self, environment: Mapping[str, str]) -> Run:
        """Have a process for a flow run."""
        more = {key: value for key, value in environment.items() if self.environment.get(key) != value}
        message = json.dumps(more).encode()
        for is_last in (False, True):
            if self._channel is None or is_last:
                await self.start()
            assert self._channel is not None
            ours, theirs = socket.socketpair()
            with theirs, suppress(ConnectionError):
                socket.send_fds(self._channel, [message], [theirs.fileno()])
            answers, writer = await asyncio.open_connection(sock=ours)
            if line := await answers.readline():
                return Run(int(line), answers, writer)
            writer.close()
        raise RuntimeError("no process can be forked for this run; what the worker wrote before says why")

    async def close(self) -> None:
        """Let it end; the runs it has forked go on."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            await self._process.wait()


class ForkStarter:
    """How Prefect's executor starts a run: as its EngineCommandStarter does, but with a fork in place of a new Python."""

    def __init__(self, forks: Forks, environment: Mapping[str, str | None], channel: ControlChannel) -> None:
        self.forks = forks
        self.environment = {key: value for key, value in environment.items() if value is not None}
        self.channel = channel

    async def start(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Say that it runs, and wait for its end."""
        run = await self.forks.run({**self.environment, **self._control(flow_run)})
        process: Any = run  # of a process the handle asks for its number and its exit code
        task_status.started(ProcessHandle(process, termination_scope=create_isolated_termination_scope(run.pid)))
        await run.wait()

    def _control(self, flow_run: FlowRun) -> dict[str, str]:
        """How the run hears of a cancellation, where a listener could be bound."""
        told = {"PREFECT__FLOW_RUN_ID": str(flow_run.id), "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false"}
        with suppress(RuntimeError):
            port, token = self.channel.register(flow_run.id)
            told |= {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}
        return told
