"""What the campaign `mini-chat` gives: exact answers, round by round.

    python -m benchmarks.mini_chat                 # runs it; writes mini_chat.csv
    python -m benchmarks.mini_chat --home HOME     # takes the one that was run in this home

One row a round and arm; seconds are the simulated fleet's. `start` is the score before the first round.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.rows import arguments, record

NAME = "mini-chat"
FIGURES = ("round", "exact_match", "token_accuracy", "perplexity", "elapsed_seconds", "round_seconds", "mean_wait_seconds", "mean_depth", "mean_quantized", "memory_violations", "failures")  # fmt: skip


def ran() -> dict[str, Any]:
    """Run it in a home of its own; return its summary."""
    from flows.edge import campaign_spec
    from flows.launch import run

    with tempfile.TemporaryDirectory() as home:
        os.environ["FEDQUAD_HOME"] = home
        summary: dict[str, Any] = run(campaign_spec(NAME), NAME)
        return summary


def rows_of(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a round."""
    return [
        {
            "label": arm["label"],
            "seed": arm["seed"],
            "start": arm["start"]["score"],
            **{key: one[key] for key in FIGURES},
        }
        for arm in summary["arms"]
        for one in arm["rounds"]
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--home", type=Path, help="the home of a campaign that was run")
    options = parser.parse_args()
    kept = options.home and json.loads((options.home / "campaigns" / NAME / "summary.json").read_text())
    record("mini_chat", rows_of(kept or ran()), as_json=options.json)


if __name__ == "__main__":
    main()
