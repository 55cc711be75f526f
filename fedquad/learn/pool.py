"""A small pool of training processes on this machine: one a core, one thread each, model loaded once.

Jobs and answers are JSON lines over socket pairs; results do not depend on which process did the work, so the number of
processes never changes a bit. A process that dies is replaced and its job given once more. Importing this costs no torch.
"""

import asyncio
import json
import os
import signal
import socket
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


class Member:
    """One training process, as its channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.pid = 0  # unknown until it has said so, in its first line

    async def ask(self, job: Job) -> Job:
        """Give it a job and wait for the answer."""
        with suppress(ConnectionError):
            self.writer.write(json.dumps(job).encode() + b"\n")
            await self.writer.drain()
        if not self.pid:
            self.pid = (await self._line())["pid"]
        answer = await self._line()
        if "error" in answer:
            raise _raised(answer)
        return answer["ok"]  # type: ignore[no-any-return]

    async def _line(self) -> Job:
        line = b""
        with suppress(ConnectionError):
            line = await self.reader.readline()
        if not line:
            raise WorkerDied(f"process {self.pid}" if self.pid else "before its first answer")
        return json.loads(line)  # type: ignore[no-any-return]

    def end(self) -> None:
        self.writer.close()
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Pool:
    """Training processes that share a queue of jobs."""

    def __init__(self, size: int, threads: int) -> None:
        self.size = size
        self.threads = threads
        self.busy_seconds = 0.0  # in which at least one process worked on a job
        self._working = 0
        self._since = 0.0
        self._opening: Job | None = None
        self._idle: asyncio.Queue[Member] = asyncio.Queue()
        self._members: set[Member] = set()
        self._parents: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        """Start the processes; they import torch while the caller does something else."""
        for member in await self._spawn(self.size):
            self._idle.put_nowait(member)

    async def open(self, job: Job) -> Job:
        """Load the model in every process; a process that is replaced later opens the same way. Returns the first one's answer."""
        self._opening = job
        members = [await self._idle.get() for _ in range(self.size)]
        try:
            answers = await asyncio.gather(*(member.ask(job) for member in members))
        except WorkerDied as death:
            raise DeviceError(
                f"a training process ended while loading the model ({death}); is there memory for {self.size} of them?"
            ) from None
        finally:
            for member in members:
                self._idle.put_nowait(member)
        return answers[0]

    async def do(self, job: Job) -> Job:
        """Give a job to the next idle process and return its answer; a death is answered by one more try."""
        for last in (False, True):
            member = await self._idle.get()
            self._clock(+1)
            try:
                return await member.ask(job)
            except WorkerDied:
                member = await self._replace(member)
                if last:
                    raise
            finally:
                self._clock(-1)
                self._idle.put_nowait(member)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """End the processes, whatever they are at."""
        for member in self._members:
            member.end()
        for parent in self._parents:
            with suppress(ProcessLookupError):
                parent.kill()
            await parent.wait()
        self._members.clear()

    def _clock(self, change: int) -> None:
        now = time.monotonic()
        if self._working:
            self.busy_seconds += now - self._since
        self._since = now
        self._working += change

    async def _spawn(self, count: int) -> list[Member]:
        """Start one parent that forks so many training processes."""
        pairs = [socket.socketpair() for _ in range(count)]
        ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        threads = str(self.threads)
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fedquad.learn.worker", *(str(end.fileno()) for end in theirs),
            pass_fds=[end.fileno() for end in theirs],
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, **QUIET, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
            start_new_session=True,  # Ctrl-C is for the campaign, which then ends its processes
        )  # fmt: skip
        self._parents.append(parent)
        for end in theirs:
            end.close()
        members = [Member(*await asyncio.open_connection(sock=end, limit=LINE_LIMIT)) for end in ours]
        self._members.update(members)
        return members

    async def _replace(self, dead: Member) -> Member:
        dead.end()
        self._members.discard(dead)
        (member,) = await self._spawn(1)
        if self._opening is not None:
            await member.ask(self._opening)
        return member


def _raised(answer: Job) -> FedquadError:
    """The worker's error again, as the class it was."""
    kind = getattr(errors, answer["kind"], None)
    if isinstance(kind, type) and issubclass(kind, FedquadError):
        return kind(answer["error"])
    return DeviceError(f"a training process failed: {answer['error']}")


def cores(threads: int) -> int:
    """How many processes of so many threads this machine runs at once."""
    return max(1, len(os.sched_getaffinity(0)) // threads)
