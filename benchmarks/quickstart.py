"""What the quickstart campaign gives: the figure and the table of the README.

    python -m benchmarks.quickstart            # runs it; writes quickstart.csv and docs/quickstart.png
    python -m benchmarks.quickstart --json     # prints the rows

One row a round and arm; seconds, bytes and joules are the simulated fleet's, `wall_seconds` this machine's for the whole campaign.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import arguments, record
from fedquad.report import curves
from flows.edge import campaign_spec
from flows.launch import run

FIGURES = (
    "round",
    "accuracy",
    "elapsed_seconds",
    "round_seconds",
    "mean_wait_seconds",
    "mean_depth",
    "mean_quantized",
    "memory_violations",
)


def rows(summary: dict[str, Any], wall_seconds: float) -> list[dict[str, Any]]:
    return [
        {
            "label": arm["label"],
            "seed": arm["seed"],
            **{key: r[key] for key in FIGURES},
            "wall_seconds": round(wall_seconds, 1),
        }
        for arm in summary["arms"]
        for r in arm["rounds"]
    ]


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    with tempfile.TemporaryDirectory() as home:
        os.environ["FEDQUAD_HOME"] = home
        began = time.monotonic()
        summary = run(campaign_spec("quickstart"), "quickstart")
        wall = time.monotonic() - began
    record("quickstart", rows(summary, wall), as_json=as_json)
    if not as_json:
        curves.draw(summary, Path(__file__).parents[1] / "docs" / "quickstart.png")


if __name__ == "__main__":
    main()
