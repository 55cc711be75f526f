"""Does a round cost the same at the end of a long campaign as at its start? A real campaign of rounds as small as the spec allows.

    python -m benchmarks.long_campaign --rounds 2000     # about half an hour on two cores; writes long_campaign.csv

A row for every so many rounds: CPU seconds a round of the campaign's own process, of Prefect's server and of the training processes
(which do the same work every round: they tell how fast the machine was meanwhile), what the campaign's process holds in memory, and how large the databases and the campaign's folder are. Linux only: all is read in /proc.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.rows import arguments, record

YAML = """
data: {{train: 64, validation: 16, test: 16}}
fleet: {{boards: {{jetson-tx2: 2}}}}
training: {{steps: 1}}
arms: [{{method: "fedlora:oracle"}}]
rounds: {rounds}
"""
TICKS = os.sysconf("SC_CLK_TCK")
ROLES = ("campaign", "server", "training")


def run(folder: Path, rounds: int, every: int) -> Iterator[dict[str, Any]]:
    """Run the command as a user does and read how it stands whenever so many more rounds are done."""
    (folder / "long.yaml").write_text(YAML.format(rounds=rounds))
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "FEDQUAD_"))}
    home = folder / "runs"
    command = [str(Path(sys.executable).with_name("fedquad")), "campaign", "run", "long.yaml", "--json"]
    environment = {**clean, "FEDQUAD_HOME": str(home), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    ledger = home / "campaigns" / "long" / "arms" / "fedlora:oracle-s0" / "rounds.jsonl"
    last, before = 0, dict.fromkeys(ROLES, 0.0)
    try:
        while process.poll() is None:
            time.sleep(0.02)
            done = _lines(ledger)
            if done >= last + every or (not last and done):
                spent = _cpu(process.pid)
                yield {
                    "round": done,
                    **{f"{role}_cpu": round((spent[role] - before[role]) / (done - last), 4) for role in ROLES},
                    "campaign_mb": round(_resident(process.pid) / 1e6, 1),
                    "prefect_kb": _size(home / "prefect") // 1000,
                    "mlflow_kb": sum(path.stat().st_size for path in home.glob("mlflow.db")) // 1000,
                    "folder_kb": _size(home / "campaigns") // 1000,
                }
                last, before = done, spent
    finally:
        process.terminate()
        process.wait()
    if process.returncode:
        raise SystemExit(f"the campaign ended with code {process.returncode}")


_read: dict[Path, tuple[int, int]] = {}


def _lines(path: Path) -> int:
    """How many lines a growing file has, of which only what is new is read."""
    if not path.exists():
        return 0
    count, position = _read.get(path, (0, 0))
    with open(path, "rb") as file:
        file.seek(position)
        new = file.read()
    _read[path] = count + new.count(b"\n"), position + len(new)
    return _read[path][0]


def _cpu(root: int) -> dict[str, float]:
    """CPU seconds so far of the campaign's process and of all that it started, by what they do."""
    spent = dict.fromkeys(ROLES, 0.0)
    for pid in _family(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            command = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        role = "campaign" if pid == root else "server" if "uvicorn" in command else "training"
        spent[role] += (int(fields[11]) + int(fields[12])) / TICKS
    return spent


def _family(root: int) -> list[int]:
    found, new = [], [root]
    while new:
        pid = new.pop()
        found.append(pid)
        for listed in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                new += [int(child) for child in listed.read_text().split()]
            except OSError:
                continue
    return found


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _size(folder: Path) -> int:
    """Bytes of all files in it; one that goes while it is looked at has none."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--every", type=int, default=50)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in run(Path(folder), given.rounds, given.every):
            print("  ".join(f"{key}={value}" for key, value in row.items()), file=sys.stderr, flush=True)
            rows.append(row)
    record("long_campaign", rows, as_json=given.json)


if __name__ == "__main__":
    main()
