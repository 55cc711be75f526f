"""A Dask cluster on loopback for tests: a scheduler and workers as real processes, each in a folder of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from real_campaigns import environment

COME_SECONDS = 120.0


class DaskCluster:
    """`dask scheduler`, and `dask worker` so many times."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        told = folder / "scheduler.json"
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(told))
        end = time.monotonic() + COME_SECONDS
        while not told.exists() or not told.read_text().rstrip().endswith("}"):
            assert time.monotonic() < end, self.said()
            time.sleep(0.05)
        self.address = str(json.loads(told.read_text())["address"])
        for number in range(workers):
            self.add(f"worker-{number}")

    def add(self, name: str) -> None:
        """Start a worker and its nanny."""
        more = (
            "--nthreads",
            "1",
            "--memory-limit",
            "0",
            "--no-dashboard",
            "--local-directory",
            str(self.folder / name),
        )
        self._start("worker", self.address, "--host", "127.0.0.1", "--name", name, *more, name=name)

    def said(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("*.log")))

    def kill_scheduler(self) -> None:
        self.processes[0].kill()

    def close(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # nannies with their workers
            process.wait()

    def _start(self, *arguments: str, name: str = "scheduler") -> None:
        folder = self.folder / name
        folder.mkdir()
        with open(self.folder / f"{name}.log", "wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *arguments],
                    cwd=folder,
                    env=environment(folder / "home"),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
