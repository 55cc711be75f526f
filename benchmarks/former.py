"""Is the quickstart faster than it was? A former commit and this one, in turns on one machine.

    python -m benchmarks.former                    # about 15 minutes on two idle cores; adds to former.csv
    python -m benchmarks.former --commit REV --turns 1 --json

Both run their own `benchmarks/campaign_overhead.py` (seconds until the first training begins and until all is over, with nothing running and
with a server up) with the packages that are installed here; the former one in a worktree that goes afterwards. The default is the
last commit of the first wave. Medians of the turns; `times` is the median of the turns' own ratios.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rows import HERE, arguments, record

FIRST_WAVE = "274d623"
FIGURES = ("first_training_seconds", "rounds_seconds", "whole_seconds")


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fedquad-") as folder:
        there = Path(folder) / "former"
        git("worktree", "add", "--quiet", "--detach", str(there), commit)
        try:
            yield there
        finally:
            git("worktree", "remove", "--force", str(there))


def git(*words: str) -> None:
    subprocess.run(["git", *words], cwd=HERE.parent, check=True)


def measured(root: Path) -> dict[str, dict[str, float]]:
    """What the checkout's own script says, by how it started."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "kernels")])}
    command = [sys.executable, "-m", "benchmarks.campaign_overhead", "--json"]
    answer = subprocess.run(command, cwd=root, env=env, stdout=subprocess.PIPE, check=True, text=True)
    return {row["start"]: row for row in json.loads(answer.stdout)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--commit", default=FIRST_WAVE)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    with checkout(given.commit) as former:
        turns = [(measured(former), measured(HERE.parent)) for _ in range(given.turns)]
    rows: list[dict[str, Any]] = []
    for start in turns[0][0]:
        for figure in FIGURES:
            then, now = ([turn[which][start][figure] for turn in turns] for which in (0, 1))
            rows.append(
                {
                    "start": start,
                    "figure": figure,
                    "turns": len(turns),
                    "former": round(median(then), 2),
                    "now": round(median(now), 2),
                    "times": round(median(b / a for a, b in zip(then, now)), 3),
                    "former_commit": given.commit,
                }
            )
    record("former", rows, as_json=given.json, appends=True)


if __name__ == "__main__":
    main()
