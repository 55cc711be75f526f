"""Where a campaign's CPU goes: seconds of its training processes, of Prefect's server and of the campaign itself.

    python -m benchmarks.where            # runs the quickstart; writes where.csv
    python -m benchmarks.where --json     # prints the rows

CPU seconds of whole processes, so that what else runs on the machine says little. Start-up ends when the first training begins; what
the others take of training's is counted from the first committed round to the last. Training processes evaluate too. Twice: with Prefect's
recorder as it comes, which writes each state of a task run by itself, and as flows/server.py has it.
"""

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import psutil

from benchmarks.campaign_overhead import CAMPAIGN
from benchmarks.rows import arguments, record

WRITING = {"one by one": {"PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "1"}, "many at a time": {}}
ROLES = {
    "fedquad.learn.worker": "training",
    "uvicorn": "server",
}  # by a word of the command line; the rest is the campaign


def spent(root: psutil.Process) -> dict[str, float]:
    """CPU seconds until now, by role."""
    found = {"training": 0.0, "server": 0.0, "campaign": 0.0}
    for process in [root, *root.children(recursive=True)]:
        try:
            line, times = " ".join(process.cmdline()), process.cpu_times()
        except psutil.Error:
            continue
        role = next((role for word, role in ROLES.items() if word in line), "campaign")
        found[role] += times.user + times.system
    return found


def measure(writing: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="fedquad-") as home:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "FEDQUAD_"))}  # fmt: skip
        env |= {"FEDQUAD_HOME": home, "OMP_NUM_THREADS": "1", **WRITING[writing]}
        process = subprocess.Popen(
            [sys.executable, "-c", CAMPAIGN, "where"], env=env, stdout=subprocess.PIPE, text=True
        )
        root = psutil.Process(process.pid)
        marks: dict[str, dict[str, float]] = {}
        rounds = 0
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)["event"]
            if event == "planned":
                marks.setdefault("start-up", spent(root))
            if event == "round":
                rounds += 1
                marks.setdefault("first round", spent(root))
                marks["last round"] = spent(root)
        if process.wait():
            raise SystemExit("the campaign failed")
    first, last = marks["first round"], marks["last round"]
    later = {role: last[role] - first[role] for role in first}
    return [
        {"task runs written": writing, "part": "start-up", **_rounded(marks["start-up"])},
        {
            "task runs written": writing,
            "part": f"rounds 2 to {rounds}",
            **_rounded(later),
            **_a_round(later, rounds - 1),
        },
    ]


def _rounded(seconds: dict[str, float]) -> dict[str, Any]:
    others = seconds["server"] + seconds["campaign"]
    share = {"others_of_training": round(others / seconds["training"], 4)} if seconds["training"] else {}
    return {f"{role}_seconds": round(value, 2) for role, value in seconds.items()} | {
        "others_seconds": round(others, 2),
        **share,
    }


def _a_round(seconds: dict[str, float], rounds: int) -> dict[str, float]:
    return {f"{role}_ms_a_round": round(1000 * seconds[role] / rounds, 1) for role in ("server", "campaign")}


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    record("where", [row for writing in WRITING for row in measure(writing)], as_json=as_json)


if __name__ == "__main__":
    main()
