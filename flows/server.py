"""A Prefect server for the length of one command, when PREFECT_API_URL names none: what Prefect calls ephemeral.

We start the process ourselves, before prefect is imported here (3 s), so that its 10 s of start-up overlap with everything else,
and so that it dies with us, however we die: an orphan would hold the database. It listens on loopback only, under a password that
this process alone knows.
"""

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from fedquad.errors import ServiceError
from flows import fresh_database

PATIENCE_SECONDS = 240.0  # it takes 15 on an idle machine; one that has died is noticed at once
PR_SET_PDEATHSIG = 1
RECORDER = {  # Task runs are written many at a time. Not on a server that stays: a device's run needs its task's run to be there.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "64",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
}
STOPS = {signal.SIGTERM, signal.SIGHUP}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent dies (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)  # which this process may have blocked (flows/stops.py)
        # Killed, not asked to end: Prefect's server may then wait for ever for a task of its own.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class TemporaryServer:
    """A Prefect API on loopback; `url` is what PREFECT_API_URL has to be."""

    def __init__(self, *, keeps_events: bool = False) -> None:
        self.keeps_events = keeps_events
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.password = f"campaign:{secrets.token_urlsafe(32)}"  # another one each time; who holds it owns the runs
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None

    def start(self) -> None:
        if place := os.environ.get("PREFECT_HOME"):
            fresh_database.lay(Path(place))
        arguments = [
            "--app-dir", str(Path(__file__).parents[1]), "--factory", "flows.temporary_app:create_app",
            "--host", "127.0.0.1", "--port", str(self.port), "--log-level", "error", "--lifespan", "on",
        ]  # fmt: skip
        environment = {
            **RECORDER,
            **os.environ,
            "PREFECT_UI_ENABLED": "0",
            "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",  # 54 kinds of block that only pages and deployments use
            "PREFECT__SERVER_EPHEMERAL": "1",
            "PREFECT__SERVER_FINAL": "1",
            "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": str(self.keeps_events).lower(),
            "PREFECT_SERVER_API_AUTH_STRING": self.password,
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": self.url.removesuffix("/api"),
        }
        # A file, not a pipe: nobody reads along, and a server that has filled a pipe (64 kB of tracebacks) stands still for ever.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            preexec_fn=die_with_parent,
            start_new_session=True,  # Ctrl-C is for us: the server has still to hear how the flows ended
        )

    def wait(self) -> None:
        """Return once the server answers."""
        assert self._process is not None
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise ServiceError(
                    f"Prefect's server ended with code {self._process.returncode}: {self._last_words()}; `fedquad doctor` checks the versions"
                )
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise ServiceError(
            f"Prefect's server did not answer on {self.url} within {PATIENCE_SECONDS:.0f} s; set PREFECT_API_URL to one that runs"
        )

    def _last_words(self) -> str:
        """The last error that the server told of before it ended."""
        assert self._said is not None
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()
        return next((line for line in reversed(said.splitlines()) if "Error" in line), said[-200:] or "it said nothing")

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
