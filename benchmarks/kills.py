"""Kill a real campaign with SIGKILL at random moments and at the rename that commits a round; resume it; compare.

    python -m benchmarks.kills --kills 100 --seed 0      # about half an hour on two cores, two at a time; writes kills.csv

A kill takes the command line's own process, at a moment drawn between its start and the time that a whole run takes; what it started
has to be gone soon after. Each campaign is then resumed to its end, and has to have the states and exports of one that nobody killed.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.rows import arguments, record
from fedquad.store import files

FEDQUAD = str(Path(sys.executable).with_name("fedquad"))
NAME = "short"
ARM = f"campaigns/{NAME}/arms/fedlora:oracle-s0"
YAML = """
data: {train: 64, validation: 16, test: 16}
fleet: {boards: {jetson-tx2: 2}}
training: {steps: 1}
arms: [{method: "fedlora:oracle"}]
rounds: 4
"""
# Run by the command's own Python before anything else: it kills itself at the rename of one round's manifest.
AT_RENAME = """
import os, signal
replace, moment, target = os.replace, os.environ["KILL_MOMENT"], os.environ["KILL_AT"]
def killing(source, to, **other):
    is_it = str(to).endswith(target)
    if is_it and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, to, **other)
    if is_it and moment == "after":
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = killing
"""


class Trial:
    """One campaign in a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{NAME}.yaml").write_text(YAML)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "FEDQUAD_"))}
        self.environment = {**clean, "FEDQUAD_HOME": str(self.home), "OMP_NUM_THREADS": "1"}

    def copied(self, name: str) -> "Trial":
        """The same beside it, as it stands."""
        to = self.folder.with_name(name)
        shutil.copytree(self.folder, to, symlinks=True)
        return Trial(to)

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        environment = {**self.environment, **more}
        return subprocess.Popen(
            [FEDQUAD, *arguments], cwd=self.folder, env=environment, stdout=pipe, stderr=pipe, text=True
        )

    def finish(self) -> dict[str, Any]:
        """Run it to its end, whatever there is of it."""
        process = self.start("campaign", "run", f"{NAME}.yaml", "--json")
        out, err = process.communicate(timeout=300)
        if process.returncode:
            raise AssertionError(f"it does not go on: {err[-500:]}")
        found: dict[str, Any] = json.loads(out)
        return found

    def facts(self) -> dict[str, Any]:
        """What a campaign comes to: its states, and which of them its exports are of."""
        arm = self.home / ARM
        lines = files.read_lines(arm / "rounds.jsonl")  # which waits for no pipe
        notes = {
            name: json.loads((arm / name / "fedquad.json").read_text())["state_digest"] for name in ("adapter", "best")
        }
        return {"states": [line["state_digest"] for line in lines], **notes}

    def killed_after(self, seconds: float) -> None:
        process = self.start("campaign", "run", f"{NAME}.yaml")
        time.sleep(seconds)
        self.kill(process)

    def killed_at_rename(self, number: int, moment: str) -> None:
        hook = self.folder / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(AT_RENAME)
        path = os.pathsep.join([str(hook), *filter(None, [os.environ.get("PYTHONPATH", "")])])
        process = self.start(
            "campaign",
            "run",
            f"{NAME}.yaml",
            PYTHONPATH=path,
            KILL_MOMENT=moment,
            KILL_AT=f"state/round-{number:04d}.json",
        )
        process.communicate(timeout=300)
        if process.returncode != -signal.SIGKILL:
            raise AssertionError(f"it was not killed at the rename, but ended with {process.returncode}")

    def kill(self, process: subprocess.Popen[str]) -> None:
        started = descendants(process.pid)
        process.kill()
        process.communicate(timeout=60)
        end = time.monotonic() + 15
        while (left := [pid for pid in started if is_alive(pid)]) and time.monotonic() < end:
            time.sleep(0.1)
        if left:
            raise AssertionError(f"processes {left} outlived the command that started them")


def descendants(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [one for child in map(int, found) for one in (child, *descendants(child))]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def attempt(number: int, dice: random.Random, took: float, folder: Path) -> tuple[int, dict[str, Any]]:
    """Kill one campaign, one of five at a commit's rename; the rounds it had then, and what it came to in the end."""
    trial = Trial(folder / f"kill-{number}")
    if number % 10 < 2:
        trial.killed_at_rename(dice.randint(1, 4), ("before", "after")[number % 2])
    else:
        trial.killed_after(dice.uniform(0.3, 1.0) * took)
    lines = trial.home / ARM / "rounds.jsonl"
    rounds = len(lines.read_text().splitlines()) if lines.exists() else 0
    trial.finish()
    found = trial.facts()
    shutil.rmtree(trial.folder)
    return rounds, found


def run(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kill so many campaigns, two at a time; returns what came of them."""
    with ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        wholes = [Trial(folder / f"whole-{number}") for number in range(2)]
        list(pool.map(Trial.finish, wholes))
        took, wanted = time.monotonic() - began, wholes[0].facts()
        if wholes[1].facts() != wanted:
            raise AssertionError("two campaigns that nobody killed differ")
        dice = [random.Random(f"{seed}/{number}") for number in range(kills)]
        found = list(pool.map(lambda number: attempt(number, dice[number], took, folder), range(kills)))
    rounds = [one for one, _ in found]
    return {
        "kills": kills,
        "seed": seed,
        "same_states_and_exports": sum(facts == wanted for _, facts in found),
        "killed_before_the_first_round": rounds.count(0),
        "killed_between": sum(0 < one < 4 for one in rounds),
        "whole_run_seconds": round(took, 1),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fedquad-kills-") as folder:
        record("kills", [run(given.kills, given.seed, Path(folder))], as_json=given.json)


if __name__ == "__main__":
    main()
