"""A pool of real training processes: what is lost is replaced, no answer goes astray, and nobody stays behind."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from safetensors.numpy import save_file

from fedquad import wire
from fedquad.learn.jobs import Evaluate, Open, Prepare
from fedquad.learn.pool import Pool, WorkerDied
from fedquad.rounds import adapters
from fedquad.spec import DataSpec, ModelSpec
from fedquad.types import ModelLayout

ROWS = 96
T = TypeVar("T")


def children(pid: int) -> list[int]:
    """Processes of a pool that this one started: the one that forks, or those that train."""
    found = subprocess.run(["pgrep", "-P", str(pid), "-f", "fedquad.learn.worker"], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def training_processes() -> set[int]:
    """Those of this process's pool: the children of what it started."""
    return {pid for parent in children(os.getpid()) for pid in children(parent)}


class Office:
    """A pool of two processes with a model and its data loaded, and the loop it lives in."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.loop, self.pool = folder, asyncio.new_event_loop(), Pool(2, 1)
        self.run(self.open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    async def open(self) -> None:
        await self.pool.start()
        data = DataSpec(train=16, validation=16, test=ROWS)
        prepared = await self.pool.do(
            Prepare(data=data, model=ModelSpec(), seed=0, cache=str(self.folder), folders=(), labels=())
        )
        splits = {name: split["path"] for name, split in prepared["splits"].items()}
        opened = await self.pool.open(
            Open(model=ModelSpec(), labels=3, greatest_rank=8, splits=splits, threads=1, objective="classification")
        )
        adapter = adapters.initial(wire.from_json(ModelLayout, opened["layout"]), 8, 0)
        self.digest = adapters.digest(adapter)
        save_file(adapters.flatten(adapter), self.folder / "sent.safetensors")

    async def score(self, rows: int, deadline_seconds: float | None = None) -> int:
        """Score so many rows; returns how many the answer is about."""
        path = str(self.folder / "sent.safetensors")
        job = Evaluate(
            adapter=path, digest=self.digest, split="test", start=0, stop=rows, batch=16, prefix=0, prefix_bytes=0
        )
        answer = await self.pool.do(job, deadline_seconds)
        return sum(map(sum, answer["confusion"]))

    def close(self) -> None:
        self.run(self.pool.close())
        self.loop.close()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("pool"))
    yield made
    made.close()
    assert not [pid for pid in children(os.getpid()) if is_alive(pid)]


def is_alive(pid: int) -> bool:
    """Whether a process runs or stands still; one that nobody has asked after since its end does neither."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_stopped_process_is_replaced_while_the_others_go_on(office: Office) -> None:
    before = training_processes()
    stopped = min(before)
    os.kill(stopped, signal.SIGSTOP)
    began = time.monotonic()

    async def timed(rows: int) -> tuple[int, bool]:
        return await office.score(rows, deadline_seconds=4.0), time.monotonic() - began >= 4

    async def all_at_once() -> list[tuple[int, bool]]:
        return await asyncio.gather(*map(timed, (16, 32, 48, 64)))

    answers = office.run(all_at_once())
    assert [rows for rows, _ in answers] == [16, 32, 48, 64]
    assert sum(is_late for _, is_late in answers) == 1
    assert not is_alive(stopped)
    after = training_processes()
    assert len(after) == 2
    assert before - after == {stopped}


def test_a_stopped_process_is_given_up_without_a_deadline_too(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what earlier jobs took for as much work."""
    office.run(office.score(ROWS))
    monkeypatch.setattr("fedquad.learn.pool.LEAST_SECONDS", 1.0)
    for pid in training_processes():
        os.kill(pid, signal.SIGSTOP)
    assert office.run(office.score(32)) == 32


def test_a_job_that_is_late_twice_fails_with_its_deadline_and_the_pool_goes_on(office: Office) -> None:
    with pytest.raises(WorkerDied, match=r"process \d+ had not answered by its deadline of 0\.001 s"):
        office.run(office.score(ROWS, deadline_seconds=0.001))
    assert office.run(office.score(ROWS, deadline_seconds=60.0)) == ROWS


def test_an_answer_nobody_waits_for_is_not_the_next_jobs(office: Office) -> None:
    async def scenario() -> list[int]:
        given_up = [asyncio.ensure_future(office.score(ROWS)) for _ in range(2)]
        await asyncio.sleep(0.01)
        for job in given_up:
            job.cancel()
        return [await office.score(16), await office.score(32)]

    office.run(office.score(ROWS))
    assert office.run(scenario()) == [16, 32]


def test_no_job_is_lost_when_every_idle_process_was_killed(office: Office) -> None:
    for pid in training_processes():
        os.kill(pid, signal.SIGKILL)
    assert office.run(office.score(32)) == 32


COORDINATOR = """
    import asyncio, sys
    from fedquad.learn.jobs import Prepare
    from fedquad.learn.pool import Pool
    from fedquad.spec import DataSpec, ModelSpec

    async def run():
        pool = Pool(3, 1)
        await pool.start()
        def job(train):
            return Prepare(data=DataSpec(train=train, validation=8, test=8), model=ModelSpec(), seed=0, cache=sys.argv[1], folders=(), labels=())
        await asyncio.gather(*(pool.do(job(8)) for _ in range(3)))
        print("idle", flush=True)
        await pool.do(job(2_000_000))

    asyncio.run(run())
    """


def test_no_process_outlives_a_coordinator_that_was_killed(tmp_path: Path) -> None:
    """One is at work, one idle and one stopped."""
    command = [sys.executable, "-c", textwrap.dedent(COORDINATOR), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as coordinator:
        assert coordinator.stdout is not None
        assert coordinator.stdout.readline() == "idle\n"
        (parent,) = children(coordinator.pid)
        trainers = children(parent)
        assert len(trainers) == 3
        time.sleep(0.5)
        at_work = max(trainers, key=cpu_ticks)
        os.kill(next(pid for pid in trainers if pid != at_work), signal.SIGSTOP)
        coordinator.kill()
    end = time.monotonic() + 10
    while time.monotonic() < end and any(map(is_alive, [parent, *trainers])):
        time.sleep(0.05)
    assert not [pid for pid in (parent, *trainers) if is_alive(pid)]


def cpu_ticks(pid: int) -> int:
    """CPU time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
