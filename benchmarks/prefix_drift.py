"""When is a stale prefix too stale? How far it drifts in a round, and what a bound on that does instead of a number of rounds.

    python -m benchmarks.prefix_drift            # about 5 minutes on two cores; writes prefix_drift.csv
    python -m benchmarks.prefix_drift --json

`fedquad:paced`, the preset `baselines` with 64 examples a device and one epoch of 8 steps a round (`epoch` of benchmarks/first.py), one
seed. Without a prefix, kept for five rounds, and kept until a probe shows so much drift. Seconds are the simulated fleet's, to 68, 72 and
75 %; `renewed` counts the rounds after which a probe ended what was kept, `drift` is the median of what the probes found.
"""

import json
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.baselines import curve
from benchmarks.campaigns import measure
from benchmarks.first import EPOCH, OURS
from benchmarks.rows import arguments, record
from fedquad.rounds.statistics import crossing
from fedquad.store.campaign import campaign

GOALS = (0.68, 0.72, 0.75)
NEVER = 10_000
STALE = "training.prefix=stale"
WAYS: dict[str, tuple[str, ...]] = {
    "no prefix": (),
    "5 rounds": (STALE, f"training.prefix_drift={1e9}"),  # probed, and never too far
    **{f"drift {bound:g}": (STALE, f"training.prefix_rounds={NEVER}", f"training.prefix_drift={bound}") for bound in (0.02, 0.05, 0.1, 0.2)},
}  # fmt: skip


def row(way: str) -> dict[str, Any]:
    drifts: list[float] = []
    summary, rounds = measure(
        "baselines", seeds="0", methods=OURS, settings=(*EPOCH, *WAYS[way]), look=partial(probes, drifts)
    )
    if failure := summary["arms"][0]["failure"]:
        raise SystemExit(f"{way}: {failure}")
    seconds = [crossing(curve(rounds), goal) for goal in GOALS]
    bound = float(way.split()[1]) if way.startswith("drift") else float("inf")
    return {
        "way": way,
        **{f"seconds_to_{100 * goal:.0f}": "" if at is None else round(at, 1) for goal, at in zip(GOALS, seconds)},
        "final_accuracy": round(float(rounds[-1]["accuracy"]), 4),
        "round_seconds": round(mean(float(one["round_seconds"]) for one in rounds), 2),
        "drift": round(median(drifts), 4) if drifts else "",
        "renewed": sum(drift > bound for drift in drifts),
    }


def probes(found: list[float], home: Path) -> None:
    (arm,) = campaign("baselines").arms()
    lines = (json.loads(line) for line in arm.lines_path.read_text().splitlines())
    found += [facts["prefix_drift"] for facts in lines if "prefix_drift" in facts]


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    record("prefix_drift", [row(way) for way in WAYS], as_json=as_json)


if __name__ == "__main__":
    main()
