"""A small pool of training processes on this machine: one a core, one thread each, model loaded once.

Jobs and answers are JSON lines over socket pairs; results do not depend on which process did the work, so the number of
processes never changes a bit. A process that dies, or has not answered by a job's deadline, is replaced and its job given once
more. When this process ends, however it ends, so do they. Importing this costs no torch.

multiprocessing's forkserver would spare the forking parent, but it pickles what it sends, and nothing is unpickled here.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from fedquad import errors
from fedquad.errors import DeviceError, FedquadError
from fedquad.learn.jobs import Cohort, Drift, Evaluate, Job, Open, Train, to_json

Answer = dict[str, Any]
QUIET = {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
SECRETS = ("PREFECT_API_AUTH_STRING", "PREFECT_API_KEY", "MLFLOW_TRACKING_PASSWORD")  # no business of training's
FIRST_SECONDS = 1800.0  # before anything is known of how fast this machine is
PATIENCE = 10.0  # times what the slowest job of its kind took for as much work
LEAST_SECONDS = 60.0
LINE_LIMIT = 1 << 26  # a probe's answer over many layers is long; asyncio's default line is 64 KiB


class WorkerDied(Exception):
    """A training process ended, or did not answer in time, in the middle of a job."""


class Member:
    """One training process, as its channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.pid = 0  # unknown until it has said so, in its first line
        self.opened: Open | None = None  # what it has loaded
        self.owed = 0  # answers under way

    async def ask(self, job: Job, deadline_seconds: float | None = None) -> Answer:
        """Give it a job and wait for the answer."""
        try:
            answer = await asyncio.wait_for(self._ask(job), deadline_seconds)
        except asyncio.TimeoutError:
            raise WorkerDied(f"process {self.pid} had not answered by its deadline of {deadline_seconds:g} s") from None
        if "error" in answer:
            raise raised(answer)
        return answer["ok"]  # type: ignore[no-any-return]

    async def _ask(self, job: Job) -> Answer:
        with suppress(ConnectionError):
            self.writer.write(json.dumps(to_json(job)).encode() + b"\n")
            self.owed += 1
            await self.writer.drain()
        if not self.pid:
            self.pid = (await self._line())["pid"]
        while True:  # whoever asked before may have stopped listening: that answer comes first
            answer = await self._line()
            self.owed -= 1
            if not self.owed:
                return answer

    async def _line(self) -> Answer:
        line = b""
        with suppress(ConnectionError):
            line = await self.reader.readline()
        if not line:
            raise WorkerDied(f"process {self.pid} ended" if self.pid else "it ended before its first answer")
        return json.loads(line)  # type: ignore[no-any-return]

    def end(self) -> None:
        """End it; one that has ended already is left alone, as its number may be another process's by now."""
        is_gone = self.reader.at_eof() or self.reader.exception() is not None
        self.writer.close()
        if self.pid and not is_gone:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Pool:
    """Training processes that share a queue of jobs."""

    def __init__(self, size: int, threads: int, prefix_folder: Path | None = None) -> None:
        self.size = size
        self.threads = threads
        self.prefix_folder = prefix_folder
        self.busy_seconds = 0.0  # in which at least one process worked on a job
        self._working = 0
        self._since = 0.0
        self._opening: Open | None = None
        self._idle: asyncio.Queue[Member] = asyncio.Queue()
        self._members: set[Member] = set()
        self._parents: list[asyncio.subprocess.Process] = []
        self._slowest: dict[type[Job], float] = {}  # seconds for a unit of work

    async def start(self) -> None:
        """Start the processes; they import torch while the caller does something else."""
        for member in await self._spawn(self.size):
            self._idle.put_nowait(member)

    async def open(self, job: Open) -> Answer:
        """Load the model in every process; a process that is replaced later opens the same way. Returns the first one's answer."""
        self._opening = job
        members = [await self._idle.get() for _ in range(self.size)]
        try:
            answers = await asyncio.gather(*(self._open(member) for member in members))
        except WorkerDied as death:
            raise DeviceError(
                f"a training process was lost while loading the model ({death}); is there memory for {self.size} of them?"
            ) from None
        finally:
            for member in members:
                self._idle.put_nowait(member)
        return answers[0]

    async def do(self, job: Job, deadline_seconds: float | None = None) -> Answer:
        """Give a job to the next idle process and return its answer; a process that is lost is answered by one more try.

        The deadline counts from when a process, its model loaded, gets the job; without one it is drawn from what earlier
        jobs took, so that a process that somebody stopped is not waited for without end.
        """
        member = await self._idle.get()
        self._clock(+1)
        try:
            for last in (False, True):
                try:
                    if member.opened is not self._opening:
                        await self._open(member)
                    began = time.monotonic()
                    answer = await member.ask(job, deadline_seconds or self._patience(job))
                    self._learn(job, time.monotonic() - began)
                    return answer
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
            if parent.returncode is None:
                os.killpg(parent.pid, signal.SIGKILL)  # it leads the group of those it forked
            await parent.wait()
        self._members.clear()

    async def _open(self, member: Member) -> Answer:
        assert self._opening is not None
        opening = self._opening
        answer = await member.ask(opening)
        member.opened = opening
        return answer

    def _patience(self, job: Job) -> float | None:
        if not isinstance(job, Train | Cohort | Evaluate | Drift):
            return None
        known = self._slowest.get(type(job))
        return FIRST_SECONDS if known is None else max(LEAST_SECONDS, PATIENCE * known * job.work)

    def _learn(self, job: Job, seconds: float) -> None:
        if isinstance(job, Train | Cohort | Evaluate | Drift) and job.work:
            self._slowest[type(job)] = max(self._slowest.get(type(job), 0.0), seconds / job.work)

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
        known = {key: value for key, value in os.environ.items() if key not in SECRETS}
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fedquad.learn.worker", str(self.prefix_folder or ""), *(str(end.fileno()) for end in theirs),
            pass_fds=[end.fileno() for end in theirs],
            stdin=asyncio.subprocess.PIPE,  # nothing is written: its end tells that this process has ended
            env={**known, **QUIET, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
            start_new_session=True,  # Ctrl-C is for the campaign, which then ends its processes
        )  # fmt: skip
        self._parents.append(parent)
        for end in theirs:
            end.close()
        members = [Member(*await asyncio.open_connection(sock=end, limit=LINE_LIMIT)) for end in ours]
        self._members.update(members)
        return members

    async def _replace(self, lost: Member) -> Member:
        lost.end()
        self._members.discard(lost)
        (member,) = await self._spawn(1)
        return member


def raised(answer: Answer) -> FedquadError:
    """The worker's error again, as the class it was."""
    kind = getattr(errors, answer["kind"], None)
    if isinstance(kind, type) and issubclass(kind, FedquadError):
        return kind(answer["error"])
    return DeviceError(f"a training process failed: {answer['error']}")


def cores(threads: int) -> int:
    """How many processes of so many threads this machine runs at once."""
    return max(1, len(os.sched_getaffinity(0)) // threads)
