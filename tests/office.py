"""A Prefect server on loopback with our pools and deployments on it, and workers that run there: one for all tests of a file."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from real_campaigns import PASSWORDS, api, environment

from flows.provision import provision
from flows.server import TemporaryServer
from flows.settings import QUIET

ROOT = Path(__file__).parents[1]
PREFECT = str(Path(sys.executable).with_name("prefect"))
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Office:
    """The server, its home and its environment."""

    def __init__(self, folder: Path, *, keeps_events: bool = False) -> None:
        self.home = folder / "runs"
        self.folder = folder
        (self.home / "prefect").mkdir(parents=True)
        self.server = TemporaryServer(keeps_events=keeps_events)
        self.url = self.server.url
        self.env = environment(
            self.home,
            **QUIET,
            PREFECT_HOME=str(self.home / "prefect"),
            PREFECT_API_URL=self.server.url,
            PREFECT_API_AUTH_STRING=self.server.password,
        )
        PASSWORDS[self.url] = self.server.password

    @contextmanager
    def opened(self) -> Iterator["Office"]:
        """The server up, our pools and deployments on it."""
        self._start()
        try:
            asyncio.run(self._provision())
            yield self
        finally:
            self.server.stop()

    def restart(self) -> None:
        """The server ended and begun again, on the same port and database."""
        self.server.stop()
        self._start()

    def _start(self) -> None:
        before = dict(os.environ)
        os.environ.update(self.env)
        try:
            self.server.start()
            self.server.wait()
        finally:
            os.environ.clear()
            os.environ.update(before)

    async def _provision(self) -> None:
        from prefect.client.orchestration import PrefectClient

        async with PrefectClient(self.url, auth_string=self.server.password) as client:
            await provision(client)
            await provision(client)  # which changes nothing

    def prefect(self, *arguments: str) -> str:
        answer = subprocess.run(
            [PREFECT, *arguments], env=self.env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    @contextmanager
    def worker(self, pool: str, limit: int = 1, kind: str = "fedquad") -> Iterator[None]:
        """A worker of a pool, ended with everything it started."""
        command = [PREFECT, "worker", "start", "--pool", pool, "--limit", str(limit), "--type", kind]
        env = {**self.env, "PREFECT_WORKER_QUERY_SECONDS": "1"}
        log = open(self.folder / f"worker-{pool}.log", "w")  # noqa: SIM115
        process = subprocess.Popen(command, env=env, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            log.close()

    def api(self, path: str, body: Any = None, method: str = "") -> Any:
        """One request; a database that is busy for once (503) is asked again."""
        for _ in range(5):
            try:
                return api(self.url, path, body, method)
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                time.sleep(0.5)
        return api(self.url, path, body, method)

    def create_run(self, deployment: str, parameters: dict[str, Any], **more: Any) -> str:
        """Create a run as the UI does."""
        found = self.api(f"/deployments/name/{deployment}")
        return self.api(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters, **more})["id"]  # type: ignore[no-any-return]

    def wait(self, flow_run_id: str, seconds: float = 240) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            run = self.api(f"/flow_runs/{flow_run_id}")
            if run["state_type"] in ENDED:
                return run  # type: ignore[no-any-return]
            time.sleep(0.5)
        logs = "".join(log.read_text()[-3000:] for log in self.folder.glob("worker-*.log"))
        raise AssertionError(f"still {run['state_type']} after {seconds} s: {logs}")
