"""All nine methods on the embedded default, three seeds: who reaches 70 %, when, and how long its devices wait.

    python -m benchmarks.baselines            # runs the preset `baselines`; writes baselines.csv, a row a round
    python -m benchmarks.baselines --json     # prints the rows
    python -m benchmarks.baselines --former   # four methods with eager attention, full padding and the paper's coverage;
                                              # baselines_former.csv
    python -m benchmarks.baselines --summary  # only reads the kept rows: means over the seeds

Seconds, bytes and joules are the simulated fleet's, priced as RoBERTa-base; `wall_seconds` is this machine's for the whole campaign.
"""

import csv
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.campaigns import measure
from benchmarks.rows import HERE, arguments, record
from fedquad.rounds.statistics import crossing
from flows.edge import campaign_spec

SEEDS = [0, 1, 2]
TARGETS = (0.70, 0.74, 0.76)
FORMER = ("model.attention=eager", "model.coverage=paper", "training.padding=max")  # what the defaults were once


def means(rows: Sequence[dict[str, str]], target: float) -> list[dict[str, Any]]:
    """Each method's figures, mean over its seeds; seconds to the target of those that reached it."""
    found = []
    for label in dict.fromkeys(row["label"] for row in rows):
        seeds = [[r for r in rows if r["label"] == label and r["seed"] == str(seed)] for seed in SEEDS]
        best = [max(float(r["accuracy"]) for r in arm) for arm in seeds]
        hits = [
            next((float(r["elapsed_seconds"]) for r in arm if float(r["accuracy"]) >= target), None) for arm in seeds
        ]
        reached = [hit for hit in hits if hit is not None]
        found.append(
            {
                "label": label,
                "final": round(100 * statistics.fmean(float(arm[-1]["accuracy"]) for arm in seeds), 1),
                "best": round(100 * statistics.fmean(best), 1),
                "reached": f"{len(reached)}/{len(seeds)}",
                "seconds_to_target": round(statistics.fmean(reached), 1) if reached else None,
                **{f"to_{100 * goal:.0f}": _mean_crossing(seeds, goal) for goal in TARGETS},
                **{key: round(mean(seeds, key), 2) for key in ("round_seconds", "mean_wait_seconds", "mean_depth")},
                "megabytes": round(sum(mean(seeds, f"{way}_bytes") for way in ("upload", "download")) / 1e6, 1),
                "joules": round(mean(seeds, "energy_joules")),
                "violations": sum(int(r["memory_violations"]) for arm in seeds for r in arm),
            }
        )
    return found


def mean(seeds: Sequence[Sequence[dict[str, str]]], key: str) -> float:
    return statistics.fmean(float(row[key]) for arm in seeds for row in arm)


def _mean_crossing(seeds: Sequence[Sequence[dict[str, str]]], goal: float) -> float | None:
    found = [crossing(curve(arm), goal) for arm in seeds]
    return round(statistics.fmean(one for one in found if one is not None), 1) if None not in found else None


def curve(arm: Sequence[dict[str, str]]) -> list[tuple[float, float]]:
    """An arm's rows as (seconds, accuracy)."""
    return [(float(row["elapsed_seconds"]), float(row["accuracy"])) for row in arm]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--summary", action="store_true", help="only read the kept rows")
    parser.add_argument("--former", action="store_true", help="with the former defaults")
    options = parser.parse_args()
    seeds, name = ",".join(map(str, SEEDS)), "baselines_former" if options.former else "baselines"
    if options.former and not options.summary:
        _, rows = measure("baselines", seeds=seeds, methods="fedlora,fedquad,hetlora,legend", settings=FORMER)
        record(name, rows, as_json=options.json)
    elif not options.summary:
        _, rows = measure("baselines", seeds=seeds)
        record(name, rows, as_json=options.json)
    if not options.json:
        target = campaign_spec("baselines").target_accuracy
        assert target is not None
        for row in means(list(csv.DictReader((HERE / f"{name}.csv").open())), target):
            print("  ".join(f"{key}={value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
