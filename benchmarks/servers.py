"""What `fedquad up` costs: seconds until all is well, CPU seconds and memory of each process; and what a worker spends on starting a run.

    python -m benchmarks.servers

CPU seconds are what to compare: this machine's cores are shared (column `load`). `start` is a home without databases, `again` the same home once more,
`dispatch` a run of the profile flow that is refused by its own admission at once: what is left is Python, Prefect and our flow's imports, by
worker type: ours, and Prefect's process worker.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.rows import arguments, record
from fedquad.store import processes
from fedquad.store.servers import Servers, read_servers
from flows.server import free_port
from flows.upkeep import post

FEDQUAD = str(Path(sys.executable).with_name("fedquad"))
PREFECT = str(Path(sys.executable).with_name("prefect"))
RUNS = 5
REFUSED = {"model": "/etc"}  # no folder of models


def main() -> None:
    asked = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "FEDQUAD_HOME": f"{folder}/runs", "OMP_NUM_THREADS": "1"}
        ports = ["--port", str(free_port()), "--mlflow-port", str(free_port())]
        try:
            rows = [up("start", env, *ports), down(env), up("again", env), *dispatches(env)]
        finally:
            subprocess.run([FEDQUAD, "down"], env=env, check=True, capture_output=True)
    record("servers", rows, as_json=asked.json)


def up(what: str, env: dict[str, str], *options: str) -> dict[str, Any]:
    """One start: how long, and what each process took."""
    began = time.monotonic()
    done = subprocess.run([FEDQUAD, "up", "--json", *options], env=env, check=True, capture_output=True, text=True)
    row: dict[str, Any] = {"what": what, "load": load(), "wall_seconds": round(time.monotonic() - began, 1)}
    for server in json.loads(done.stdout)["servers"]:
        process = psutil.Process(server["pid"])
        tree = [process, *process.children(recursive=True)]
        row[f"{server['name']}_cpu_seconds"] = round(sum(cpu(one) for one in tree), 1)
        row[f"{server['name']}_mb"] = round(sum(one.memory_info().rss for one in tree) / 1e6)
    return row


def down(env: dict[str, str]) -> dict[str, Any]:
    began = time.monotonic()
    subprocess.run([FEDQUAD, "down"], env=env, check=True, capture_output=True)
    return {"what": "down", "load": load(), "wall_seconds": round(time.monotonic() - began, 1)}


def dispatches(env: dict[str, str]) -> list[dict[str, Any]]:
    """Runs one after the other through either worker."""
    servers = read_servers(Path(env["FEDQUAD_HOME"]) / "credentials.json")
    assert servers is not None
    rows = [dispatch("fedquad", servers, worker_pid(env))]
    post(servers, "/work_pools/", {"name": "ordinary", "type": "process"})
    flow = post(servers, "/flows/", {"name": "profile"})["id"]
    body = {"name": "ordinary", "flow_id": flow, "entrypoint": "flows.profile.profile", "work_pool_name": "ordinary"}
    post(servers, "/deployments/", body)
    with ordinary_worker(env, servers) as pid:
        rows.append(dispatch("process", servers, pid, "ordinary"))
    return rows


def worker_pid(env: dict[str, str]) -> int:
    return processes.read(Path(env["FEDQUAD_HOME"]) / "servers")["worker"].pid


@contextmanager
def ordinary_worker(env: dict[str, str], servers: Servers) -> Iterator[int]:
    more = {
        "PREFECT_API_URL": servers.prefect_url,
        "PREFECT_API_AUTH_STRING": servers.prefect_auth,
        "PREFECT_WORKER_QUERY_SECONDS": "2",
    }
    command = [PREFECT, "worker", "start", "--pool", "ordinary", "--type", "process"]
    process = subprocess.Popen(command, env={**env, **more}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


def dispatch(kind: str, servers: Servers, worker: int, name: str = "profile") -> dict[str, Any]:
    """Medians over some runs: from its creation to its end, and what the worker and its children used."""
    walls, used = [], []
    deployment = next(d for d in post(servers, "/deployments/filter", {}) if d["name"] == name)["id"]
    for number in range(RUNS + 1):
        before, began = spent(worker), time.monotonic()
        run = post(servers, f"/deployments/{deployment}/create_flow_run", {"parameters": REFUSED})["id"]
        while post(servers, "/flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})[0]["state_type"] != "FAILED":
            time.sleep(0.2)
        ended = time.monotonic() - began
        while psutil.Process(worker).children():
            time.sleep(0.05)
        if number:  # the first one reads every file from the disk
            walls.append(ended)
            used.append(spent(worker) - before)
    return {
        "what": f"dispatch {kind}",
        "load": load(),
        "wall_seconds": round(median(walls), 1),
        "run_cpu_seconds": round(median(used), 2),
        "runs": RUNS,
    }


def spent(worker: int) -> float:
    """CPU seconds of a worker and of all children that have ended."""
    times = psutil.Process(worker).cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def cpu(process: psutil.Process) -> float:
    return spent(process.pid)


def load() -> float:
    return round(os.getloadavg()[0], 1)


if __name__ == "__main__":
    main()
