"""What does a round cost beside its training as the fleet grows? The same thousand devices asked a round, of 1,000 to 100,000.

    python -m benchmarks.large_fleet                     # about 10 minutes on two cores; writes large_fleet.csv
    python -m benchmarks.large_fleet --devices 100000 --json

FedQuad on `mini`, one step of two examples a device, so that what is not training shows. Start is from the start of the process to the
first round's dispatch, on a fresh home. A round's CPU seconds are those of the campaign's process and of Prefect's server after
the first round; training processes have their own column. Of a round's wall time in which no device is waited for and nothing
scored, `merging` is planning, the gate and the merge, `storing` is recording and showing. Bytes are what a round adds to
rounds.jsonl, to the databases of Prefect and MLflow, and to the arm's folder without its adapters.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from operator import sub
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.rows import arguments, record
from benchmarks.where import spent

ASKED, ROUNDS = 1000, 4
SIZES = (1_000, 10_000, 100_000)
BOARDS = {"jetson-tx2": 0.4, "jetson-xavier-nx": 0.3, "jetson-agx-xavier": 0.3}
CAMPAIGN = """
import json, sys, time
from flows.edge import described
from flows.launch import run

def listen(event, facts):
    print(json.dumps({"event": event, "time": time.time()}), flush=True)

run(described(sys.argv[1]), "large", listener=listen)
"""


def spec(devices: int) -> dict[str, Any]:
    return {
        "data": {"name": "mini-nli", "train": 2 * devices, "validation": 64, "test": 64, "partition": "iid"},
        "fleet": {"boards": {board: round(share * devices) for board, share in BOARDS.items()}},
        "training": {"steps": 1, "batch": 2},
        "participation": ASKED / devices,
        "arms": [{"method": "fedquad"}],
        "rounds": ROUNDS,
    }


def sizes(home: Path) -> dict[str, int]:
    """Bytes of what grows with rounds."""
    arms = [path for path in (home / "campaigns").glob("*/arms/*/**/*") if path.is_file()]
    return {
        "facts": sum(path.stat().st_size for path in arms if path.name == "rounds.jsonl"),
        "arm": sum(path.stat().st_size for path in arms if path.suffix in (".json", ".jsonl")),
        "prefect": sum(path.stat().st_size for path in (home / "prefect").glob("*.db*")),
        "mlflow": sum(path.stat().st_size for path in home.glob("mlflow.db*")),
    }


def measure(devices: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="fedquad-") as folder:
        home = Path(folder)
        (home / "large.yaml").write_text(json.dumps(spec(devices)))  # which is YAML too
        env = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "FEDQUAD_"))}  # fmt: skip
        env |= {"FEDQUAD_HOME": str(home), "OMP_NUM_THREADS": "1"}
        began = time.time()
        command = [sys.executable, "-c", CAMPAIGN, str(home / "large.yaml")]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        root, start = psutil.Process(process.pid), 0.0
        marks: list[tuple[float, dict[str, float], dict[str, int], int]] = []
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "planned" and not start:
                start = event["time"] - began
            if event["event"] == "round":
                marks.append((event["time"], spent(root), sizes(home), root.memory_info().rss))
        if process.wait():
            raise SystemExit("the campaign failed")
        facts = [json.loads(line) for line in next(home.glob("campaigns/*/arms/*/rounds.jsonl")).open()]
    lengths = [after[0] - before[0] for before, after in pairwise(marks)]
    waited = [one["wall_train_seconds"] + one["wall_evaluate_seconds"] for one in facts[1:]]
    inside = [one["wall_round_seconds"] for one in facts[1:]]
    first, last, rounds = marks[0], marks[-1], len(marks) - 1
    used = {role: (last[1][role] - first[1][role]) / rounds for role in last[1]}
    grown = {f"{name}_kb_a_round": round((last[2][name] - first[2][name]) / rounds / 1e3, 1) for name in last[2]}
    return {
        "devices": devices,
        "asked": ASKED,
        "start_seconds": round(start, 2),
        "round_wall_seconds": round(median(lengths), 2),
        "merging_seconds": round(median(map(sub, inside, waited)), 2),
        "storing_seconds": round(median(map(sub, lengths, inside)), 2),
        **{f"{role}_cpu_seconds_a_round": round(value, 3) for role, value in used.items()},
        "campaign_mb": round(last[3] / 1e6, 1),
        **grown,
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--devices", type=int, nargs="*", default=SIZES)
    given = parser.parse_args()
    record("large_fleet", [measure(devices) for devices in given.devices], as_json=given.json)


if __name__ == "__main__":
    main()
