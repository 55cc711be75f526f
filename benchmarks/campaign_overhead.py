"""What a campaign costs besides training: start-up, and the share of its wall time in which no training process works.

    python -m benchmarks.campaign_overhead            # writes campaign_overhead.csv
    python -m benchmarks.campaign_overhead --json     # prints the rows

Runs the quickstart preset twice in processes of its own: with nothing running (a home without any files: databases are made,
data is tokenised) and against a Prefect server that is up. Start-up is from the start of the process to the first training;
overhead is what is left of the time from there to the last round when the time in which a training process worked is taken away.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import arguments, record
from flows.server import TemporaryServer
from flows.settings import QUIET

CAMPAIGN = """
import json, sys, time
from flows.edge import campaign_spec
from flows.launch import run

def listen(event, facts):
    print(json.dumps({"event": event, "time": time.time(), "busy": facts.get("busy_seconds")}), flush=True)

run(campaign_spec("quickstart"), sys.argv[1], listener=listen)
"""


def measure(start: str, home: Path, server: TemporaryServer | None = None) -> dict[str, Any]:
    """Run the quickstart campaign and read its events."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "FEDQUAD_"))}
    env |= {"FEDQUAD_HOME": str(home), "OMP_NUM_THREADS": "1"}
    if server is not None:
        env |= {"PREFECT_API_URL": server.url, "PREFECT_API_AUTH_STRING": server.password}
    began = time.time()
    answer = subprocess.run(
        [sys.executable, "-c", CAMPAIGN, start.replace(" ", "-")],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    ended = time.time()
    events = [json.loads(line) for line in answer.stdout.splitlines()]
    first = next(e["time"] for e in events if e["event"] == "planned")
    last = max(e["time"] for e in events if e["event"] == "round")
    busy = events[-1]["busy"] - next(e["busy"] for e in events if e["event"] == "ready")
    return {
        "start": start,
        "first_training_seconds": round(first - began, 2),
        "rounds_seconds": round(last - first, 2),
        "busy_seconds": round(busy, 2),
        "overhead_percent": round(100 * (1 - min(busy, last - first) / (last - first)), 2),
        "whole_seconds": round(ended - began, 2),
    }


def measured() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        rows = [measure("nothing running", home)]
        os.environ.update({**QUIET, "PREFECT_HOME": str(home / "prefect")})
        server = TemporaryServer()
        server.start()
        try:
            server.wait()
            rows.append(measure("server running", home, server))
        finally:
            server.stop()
    return rows


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    record("campaign_overhead", measured(), as_json=as_json)


if __name__ == "__main__":
    main()
