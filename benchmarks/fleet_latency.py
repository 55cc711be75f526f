"""From asking a real device to having its answer, on loopback: status, dispatch, first step, training, return.

    python -m benchmarks.fleet_latency                 # 1, 6 and 12 devices; minutes
    python -m benchmarks.fleet_latency --devices 1 --rounds 2 --json     # whether it works

Starts the servers with `fedquad up` and the devices with `fedquad device serve`, in a home of its own, runs a campaign of FedLoRA on
the embedded task and ends all of it. Times are Prefect's and the coordinator's own, from the campaign's facts. `cold` is the join, in
which the trainer loads the model; rounds are warm. CPU seconds a dispatch are those of the servers, the devices' workers and the
runs they start, without the trainers, over the dispatches of the rounds. A row of fleet_latency.csv a number of devices.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.rows import arguments, record
from flows.server import free_port

PROGRAM = str(Path(sys.executable).with_name("fedquad"))


class Fleet:
    """Servers and devices on loopback, with a home of their own."""

    def __init__(self, home: Path, devices: int) -> None:
        clean = {
            key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "FEDQUAD_"))
        }
        self.env = {**clean, "FEDQUAD_HOME": str(home), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.home = home
        self.names = [f"agx-{number:02}" for number in range(devices)]
        self.served: list[subprocess.Popen[bytes]] = []

    def run(self, *arguments: str) -> str:
        answer = subprocess.run(
            [PROGRAM, *arguments], env=self.env, cwd=self.home, capture_output=True, text=True, check=False
        )
        if answer.returncode:
            raise SystemExit(f"{' '.join(arguments)}: {answer.stderr[-2000:]}")
        return answer.stdout

    def start(self) -> None:
        self.run("up", "--port", str(free_port()), "--mlflow-port", str(free_port()))
        for name in self.names:
            command = [PROGRAM, "device", "serve", "--pool", "jetson-agx", "--name", name, "--data", "mini-nli"]
            log = open(self.home / f"{name}.log", "wb")  # noqa: SIM115
            self.served.append(subprocess.Popen(command, env=self.env, cwd=self.home, stdout=log, stderr=log))
        while not all((self.home / "devices" / name / "trainer.json").is_file() for name in self.names):
            time.sleep(0.2)

    def stop(self) -> None:
        for process in self.served:
            process.terminate()
        for process in self.served:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
        self.run("down")

    def cpu_seconds(self) -> float:
        """Of the servers, the workers, those who fork runs for them, and the runs that these have seen end."""
        servers = [row["pid"] for row in json.loads(self.run("up", "--status", "--json"))["servers"] if row.get("pid")]
        counted = [psutil.Process(pid) for pid in [*servers, *(process.pid for process in self.served)]]
        counted += [child for one in counted for child in one.children() if "flows.forked" in child.cmdline()]
        times = [process.cpu_times() for process in counted]
        return sum(one.user + one.system + one.children_user + one.children_system for one in times)


def measure(devices: int, rounds: int) -> dict[str, Any]:
    """One campaign with so many devices."""
    with tempfile.TemporaryDirectory(prefix="fq", ignore_cleanup_errors=True) as folder:
        fleet = Fleet(Path(folder), devices)
        try:
            fleet.start()
            before = fleet.cpu_seconds()
            fleet.run("campaign", "run", "own-devices", "--name", "latency", "--methods", "fedlora", "--rounds", str(rounds), "--set",
                      f"fleet.boards={{jetson-agx-xavier: {devices}}}", "--set", "quorum=1.0")  # fmt: skip
            spent = fleet.cpu_seconds() - before
            lines = (fleet.home / "campaigns/latency/arms/fedlora-s0/rounds.jsonl").read_text().splitlines()
            joins = join_seconds(fleet)
        finally:
            fleet.stop()
    return row([json.loads(line) for line in lines], devices, spent, joins)


def join_seconds(fleet: Fleet) -> list[float]:
    """Seconds from asking for a join to its end: worker, process and model."""
    import asyncio

    from fedquad.store.servers import environment, read_servers

    servers = read_servers(fleet.home / "credentials.json")
    assert servers is not None
    os.environ.update(environment(servers))

    async def look() -> list[float]:
        from prefect.client.orchestration import PrefectClient

        async with PrefectClient(servers.prefect_url, auth_string=servers.prefect_auth) as client:
            runs = await client.read_flow_runs(limit=200)
        return [
            (run.end_time - run.created).total_seconds()
            for run in runs
            if run.name.startswith("join - ") and run.end_time and run.created
        ]

    return asyncio.run(look())


def row(rounds: list[dict[str, Any]], devices: int, cpu: float, joins: list[float]) -> dict[str, Any]:
    """Medians over rounds and devices."""
    runs = [(facts, one["run"], one) for facts in rounds for one in facts["assignments"]]
    overlapping = [
        sum(a["started"] < b["ended"] and b["started"] < a["ended"] for b in there)
        for there in by_round(rounds)
        for a in there
    ]

    def median(values: list[float]) -> float:
        return round(statistics.median(values), 3)

    return {
        "devices": devices,
        "rounds": len(rounds),
        "joined_seconds": median(joins),
        "started_seconds": median([run["started"] - run["sent"] for _, run, _ in runs]),
        "first_step_seconds": median([run["first_step"] - run["sent"] for _, run, _ in runs]),
        "train_seconds": median([one["seconds"] for _, _, one in runs]),
        "returned_seconds": median([run["taken"] - run["sent"] for _, run, _ in runs]),
        "round_wall_seconds": median([facts["wall_round_seconds"] for facts in rounds]),
        "at_once": max(overlapping),
        "cpu_seconds_a_dispatch": round(cpu / (len(runs) + devices), 2),
        "loads_a_device": max(run["loads"] for _, run, _ in runs),
        "failures": sum(bool(one["failure"]) for _, _, one in runs),
    }


def by_round(rounds: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    return [[one["run"] for one in facts["assignments"]] for facts in rounds]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--devices", type=int, nargs="*", default=[1, 6, 12])
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    record("fleet_latency", [measure(devices, asked.rounds) for devices in asked.devices], as_json=asked.json)


if __name__ == "__main__":
    main()
