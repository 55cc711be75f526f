"""A small pool of training processes on this machine: one a core, one thread each, model loaded once.

Jobs and answers are JSON lines over pipes; results do not depend on which process did the work, so the number of processes
never changes a bit. A process that dies is replaced and its job given once more. Importing this costs no torch.
"""

import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from typing import Any

from fedquad import errors
from fedquad.errors import DeviceError, FedquadError

Job = dict[str, Any]
QUIET = {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
LINE_LIMIT = 1 << 26  # a probe's answer over many layers is long; asyncio's default line is 64 KiB


class WorkerDied(Exception):
    """A training process ended in the middle of a job."""


class Pool:
    """Training processes that share a queue of jobs."""

    def __init__(self, size: int, threads: int) -> None:
        self.size = size
        self.threads = threads
        self.busy_seconds = 0.0  # in which at least one process worked on a job
        self._working = 0
        self._since = 0.0
        self._opening: Job | None = None
        self._idle: asyncio.Queue[asyncio.subprocess.Process] = asyncio.Queue()
        self._processes: set[asyncio.subprocess.Process] = set()

    async def start(self) -> None:
        """Start the processes; they import torch while the caller does something else."""
        for process in await asyncio.gather(*(self._spawn() for _ in range(self.size))):
            self._idle.put_nowait(process)

    async def open(self, job: Job) -> Job:
        """Load the model in every process; a process that is replaced later opens the same way. Returns the first one's answer."""
        self._opening = job
        processes = [await self._idle.get() for _ in range(self.size)]
        try:
            answers = await asyncio.gather(*(self._ask(process, job) for process in processes))
        except WorkerDied as death:
            raise DeviceError(
                f"a training process ended while loading the model ({death}); is there memory for {self.size} of them?"
            ) from None
        finally:
            for process in processes:
                self._idle.put_nowait(process)
        return answers[0]

    async def do(self, job: Job) -> Job:
        """Give a job to the next idle process and return its answer; a death is answered by one more try."""
        for last in (False, True):
            process = await self._idle.get()
            self._clock(+1)
            try:
                return await self._ask(process, job)
            except WorkerDied:
                process = await self._replace(process)
                if last:
                    raise
            finally:
                self._clock(-1)
                self._idle.put_nowait(process)
        raise AssertionError("unreachable")

    def _clock(self, change: int) -> None:
        now = time.monotonic()
        if self._working:
            self.busy_seconds += now - self._since
        self._since = now
        self._working += change

    async def close(self) -> None:
        """End the processes: closing their input lets them finish, those that do not are killed."""
        for process in self._processes:
            with suppress(ProcessLookupError, OSError):
                process.kill()
        for process in list(self._processes):
            await process.wait()
        self._processes.clear()

    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    async def _spawn(self) -> asyncio.subprocess.Process:
        count = str(self.threads)
        environment = {**os.environ, **QUIET, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fedquad.learn.worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment, limit=LINE_LIMIT,
            start_new_session=True,  # Ctrl-C is for the process that owns the pool
        )  # fmt: skip
        self._processes.add(process)
        return process

    async def _replace(self, dead: asyncio.subprocess.Process) -> asyncio.subprocess.Process:
        with suppress(ProcessLookupError):
            dead.kill()
        await dead.wait()
        self._processes.discard(dead)
        process = await self._spawn()
        if self._opening is not None:
            await self._ask(process, self._opening)
        return process

    async def _ask(self, process: asyncio.subprocess.Process, job: Job) -> Job:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readline()
        except (BrokenPipeError, ConnectionResetError):
            line = b""
        if not line:
            code = await process.wait()
            raise WorkerDied(f"signal {-code}" if code < 0 else f"exit code {code}")
        answer = json.loads(line)
        if "error" in answer:
            raise _raised(answer)
        return answer["ok"]  # type: ignore[no-any-return]


def _raised(answer: Job) -> FedquadError:
    """The worker's error again, as the class it was."""
    kind = getattr(errors, answer["kind"], None)
    if isinstance(kind, type) and issubclass(kind, FedquadError):
        return kind(answer["error"])
    return DeviceError(f"a training process failed: {answer['error']}")


def cores(threads: int) -> int:
    """How many processes of so many threads this machine runs at once."""
    return max(1, len(os.sched_getaffinity(0)) // threads)
