"""What `fedquad up` runs, for tests, in a home of its own."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
from pathlib import Path
from typing import Any

from real_campaigns import PASSWORDS, PROGRAM, api, environment, fedquad, summary

from fedquad.store.servers import Servers, read_servers

SIMULATED = """
import asyncio, json, sys
from flows import edge
from tasks.evaluate import evaluate_start
from tasks.prepare import is_finished, open_arm, opened
from tasks.round import play

async def main(path, name, method, settings):
    spec = edge.described(path, settings=json.loads(settings))
    async with opened(spec, name) as session:
        arm = open_arm(session, method, 0)
        await evaluate_start(arm)
        while not is_finished(spec, arm.folder.progress):
            await play(arm)

asyncio.run(main(*sys.argv[1:]))
"""


class Home:
    """What `fedquad up` runs, in a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "runs"
        self.env = environment(self.home, FEDQUAD_FOLDERS=str(folder))
        self.servers: Servers

    def up(self, *ports: str) -> None:
        """Start what does not run."""
        answer = fedquad("up", *ports, "--json", env=self.env, cwd=self.folder)
        assert answer.returncode == 0, answer.stderr
        found = read_servers(self.home / "credentials.json")
        assert found is not None
        self.servers = found
        PASSWORDS[found.prefect_url] = found.prefect_auth

    def kill(self, name: str) -> None:
        """End one of the servers as a power cut does."""
        answer = fedquad("up", "--status", "--json", env=self.env, cwd=self.folder)
        (pid,) = (one["pid"] for one in summary(answer)["servers"] if one["name"] == name)
        os.killpg(pid, signal.SIGKILL)

    def api(self, path: str, body: Any = None, method: str = "") -> Any:
        """One request; a database that is busy for once (503) is asked again."""
        for _ in range(10):
            try:
                return api(self.servers.prefect_url, path, body, method)
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                time.sleep(1)
        raise AssertionError(f"{path}: busy for ten seconds")

    def facts(self, campaign: str) -> list[dict[str, Any]]:
        """The rounds of a campaign's one arm."""
        (file,) = (self.home / "campaigns" / campaign / "arms").glob("*/rounds.jsonl")
        return [json.loads(line) for line in file.read_text().splitlines()]

    def simulated(self, spec: Path, method: str, **settings: object) -> list[dict[str, Any]]:
        """The rounds of a campaign on the simulated fleet, played without servers."""
        done = subprocess.run(
            [sys.executable, "-c", SIMULATED, str(spec), spec.stem, method, json.dumps(settings)],
            env=self.env, cwd=self.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return self.facts(spec.stem)

    def down(self) -> None:
        subprocess.run([PROGRAM, "down"], env=self.env, cwd=self.folder, check=False, capture_output=True, timeout=60)
