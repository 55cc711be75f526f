"""Real campaigns for tests: a spec that trains for seconds, the command line in a process of its own, a server on loopback."""

import base64
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

PROGRAM = str(Path(sys.executable).with_name("fedquad"))

TINY = """\
# Three devices, three rounds: as little as is still a campaign.
data: {name: mini-nli, train: 240, validation: 64, test: 96}
fleet: {boards: {jetson-agx-xavier: 1, jetson-xavier-nx: 1, jetson-tx2: 1}, jitter: 0.1}
cost: {priced_as: roberta-base}
training: {steps: 2, batch: 4}
arms: [{method: fedlora}, {method: "fedlora:oracle"}]
rounds: 3
keep_every: 1
"""


def environment(home: Path, **more: str) -> dict[str, str]:
    """An environment whose every file lies under `home`."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "FEDQUAD_"))}
    return {**clean, "FEDQUAD_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **more}


def as_in_a_terminal() -> None:
    """In a new process: heed what a terminal sends, whatever whoever runs the tests ignores."""
    for one in (signal.SIGINT, signal.SIGHUP):
        signal.signal(one, signal.SIG_DFL)


def as_in_the_background() -> None:
    """In a new process: ignore SIGINT, as a shell's `&` has it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


PASSWORDS: dict[str, str] = {}  # by the API's address


def fedquad(
    *arguments: str, env: dict[str, str], cwd: Path, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    command = [*prefix, PROGRAM, *arguments]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False, timeout=400)


def summary(answer: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)  # type: ignore[no-any-return]


def digests(document: dict[str, Any]) -> dict[str, str]:
    """state_digest of every arm."""
    return {arm["label"]: arm["state_digest"] for arm in document["arms"]}


def api(url: str, path: str, body: dict[str, Any] | None = None, method: str = "") -> Any:
    """One request to Prefect's API, as its UI makes them."""
    headers = {"Content-Type": "application/json"}
    if url in PASSWORDS:
        headers["Authorization"] = f"Basic {base64.b64encode(PASSWORDS[url].encode()).decode()}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", data=data, headers=headers, method=method or None)
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def flow_runs(url: str, **filters: Any) -> list[dict[str, Any]]:
    return api(url, "/flow_runs/filter", {"limit": 200, **filters})  # type: ignore[no-any-return]


def task_runs(url: str, flow_run_id: str) -> list[str]:
    """Names of a flow run's tasks."""
    body = {"limit": 200, "flow_runs": {"id": {"any_": [flow_run_id]}}}
    return [run["name"] for run in api(url, "/task_runs/filter", body)]
