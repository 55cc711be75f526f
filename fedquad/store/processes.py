"""Processes that outlive the command that started them: who they are, whether they still run, and how they and their children end.

$FEDQUAD_HOME/servers/processes.json names each by its number and its start, so that a number that the system gave away anew is
nobody of ours. Children are found by a mark in their environment, which they inherit: also those whose parent was killed.
"""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from fedquad.errors import StoreError
from fedquad.store import files
from fedquad.store.shape import typed

MARK = "FEDQUAD_SERVERS"  # in the environment of each process: the record's folder
SAME_START_SECONDS = 1.0  # psutil computes starts from the boot's time, which a clock may move by a little
SHAPE = {"processes": [{"name": str, "pid": int, "started": float}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """One process, by name."""

    name: str
    pid: int
    started: float  # seconds since 1970

    def process(self) -> psutil.Process | None:
        """The process itself, unless it has ended."""
        try:
            found = psutil.Process(self.pid)
            is_same = abs(found.create_time() - self.started) < SAME_START_SECONDS
            return found if is_same and found.status() != psutil.STATUS_ZOMBIE else None
        except (psutil.NoSuchProcess, psutil.AccessDenied, OverflowError, ValueError):
            return None


def started(name: str, pid: int) -> Started:
    """What to remember of a process that has just been started."""
    return Started(name=name, pid=pid, started=psutil.Process(pid).create_time())


def write(folder: Path, processes: Mapping[str, Started]) -> None:
    files.write_sealed(folder / "processes.json", {"processes": [asdict(one) for one in processes.values()]}, indent=1)


def read(folder: Path) -> dict[str, Started]:
    """Those that were started and still run, by name."""
    path = folder / "processes.json"
    if not os.path.lexists(path):
        return {}
    found = [Started(**one) for one in typed(files.read_sealed(path, SHAPE), SHAPE, path)["processes"]]
    return {one.name: one for one in found if one.process() is not None}


def marked(folder: Path) -> list[psutil.Process]:
    """Every process of this user that bears the folder's mark, the caller aside."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == str(folder):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue  # it has ended, or is not ours to look at
    return found


def end(folder: Path, first: Mapping[str, float]) -> list[str]:
    """End them: those of `first` one after the other, each given its seconds to end in good order, then whatever is left.

    Returns the names of those that ran.
    """
    recorded = read(folder)
    for name, seconds in first.items():
        if name in recorded and (process := recorded[name].process()):
            _end([process], seconds)
    left = {process.pid: process for process in marked(folder)}
    left.update({one.pid: process for one in recorded.values() if (process := one.process())})
    _end(list(left.values()), 5.0)
    files.remove(folder / "processes.json")
    return list(recorded)


def _end(processes: list[psutil.Process], seconds: float) -> None:
    """Ask, wait, kill."""
    _send(processes, signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    _send(alive, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5.0)


def _send(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)  # which looks whether the number is still that process's
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied as error:
            raise StoreError(f"process {process.pid} cannot be ended: {error}") from None


def cpu_seconds(folder: Path) -> float:
    """What all that bear the mark have used so far."""
    total = 0.0
    for process in marked(folder):
        try:
            used = process.cpu_times()
            total += used.user + used.system
        except psutil.NoSuchProcess:
            continue
    return total


def uptime(one: Started) -> float:
    return max(0.0, time.time() - one.started)
