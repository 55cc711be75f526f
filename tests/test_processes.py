"""Just the processes that were started end, with their children, also those whose parent was killed; nobody else does."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fedquad.errors import StoreError
from fedquad.store import processes
from fedquad.store.processes import MARK, Started

PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)


def start(folder: Path, code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, MARK: str(folder)}, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    running = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield running
    running.kill()
    running.wait()


def children_of(folder: Path, count: int) -> list[psutil.Process]:
    for _ in range(200):
        if len(found := processes.marked(folder)) == count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{len(found)} processes bear the mark, not {count}")


def test_a_process_ends_with_its_children_even_if_it_was_killed_before(
    tmp_path: Path, stranger: "subprocess.Popen[bytes]"
) -> None:
    parent = start(tmp_path, PARENT)
    processes.write(tmp_path, {"worker": processes.started("worker", parent.pid)})
    children_of(tmp_path, 2)
    assert list(processes.read(tmp_path)) == ["worker"]
    parent.kill()
    parent.wait()
    assert processes.read(tmp_path) == {}
    (orphan,) = children_of(tmp_path, 1)
    processes.end(tmp_path, {"worker": 1.0})
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
    assert stranger.poll() is None


def test_one_that_does_not_heed_is_killed_after_its_seconds(tmp_path: Path) -> None:
    stubborn = start(tmp_path, STUBBORN)
    assert stubborn.stdout is not None
    assert stubborn.stdout.readline() == "ready\n"
    processes.write(tmp_path, {"prefect": processes.started("prefect", stubborn.pid)})
    assert processes.end(tmp_path, {"prefect": 0.5}) == ["prefect"]
    assert stubborn.poll() is not None  # though it does not heed SIGTERM
    assert processes.end(tmp_path, {"prefect": 0.5}) == []


def test_a_number_that_was_given_away_anew_is_nobody_of_ours(
    tmp_path: Path, stranger: "subprocess.Popen[bytes]"
) -> None:
    other = Started(name="prefect", pid=stranger.pid, started=processes.started("x", stranger.pid).started - 60)
    processes.write(tmp_path, {"prefect": other})
    assert processes.read(tmp_path) == {}
    assert processes.end(tmp_path, {"prefect": 1.0}) == []
    assert stranger.poll() is None


@pytest.mark.parametrize("pid", [0, -1, 2**40])
def test_a_number_that_is_none_is_harmless(tmp_path: Path, pid: int) -> None:
    assert Started(name="x", pid=pid, started=0.0).process() is None


@pytest.mark.parametrize("content", ["", "[]", '{"processes": [{"name": "x", "pid": 1, "started": 1.0}]}'])
def test_a_record_that_we_did_not_write_ends_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "processes.json").write_text(content)
    with pytest.raises(StoreError):
        processes.end(tmp_path, {})
