"""The paper's figures and tables in small: the `mini-` presets run one after another, and what docs/paper.md says of them.

    python -m benchmarks.paper --home HOME                    # hours on two cores; can be stopped and called again at any time
    python -m benchmarks.paper --home HOME --only mini-fig2 --seeds 0
    python -m benchmarks.paper --summary                      # only reads the kept rows
    python -m benchmarks.paper --summary --target 0.74        # at another target than the least best of the methods that learn

Campaigns lie in HOME and go on where they stood. paper.csv has a row an arm; a campaign's rows replace its former ones. `accuracy` and
`elapsed_seconds` are lists, a number a round, the first before any. Seconds are the simulated fleet's, priced as each preset says.
"""

import argparse
import csv
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rows import HERE, provenance
from fedquad.rounds import statistics as curves
from fedquad.store.campaign import CampaignFolder, campaign
from flows.edge import campaign_spec
from flows.launch import run

FILE = HERE / "paper.csv"
PRESETS = {  # and the seeds that two cores have an afternoon for
    "mini-table-3": None, "mini-fig2": None, "mini-fig4b": None, "mini-fig4a": None, "mini-fig3": None, "mini-table-4-low": "0,1,2",
    "mini-table-4-medium": "0,1,2", "mini-fig7b": "0,1,2", "mini-fig10b": "0,1,2", "mini-fig7c": "0", "mini-fig7d": "0",
    "mini-table-3-bert": "0", "mini-table-3-deberta": "0",
}  # fmt: skip
MEANS = ("round_seconds", "mean_wait_seconds", "mean_depth", "mean_quantized", "memory_violations")


def play(name: str, seeds: str | None) -> list[dict[str, Any]]:
    """Run a campaign, or what is left of it; a row an arm."""
    folder = campaign(name)
    if not folder.exists() or folder.status() != "finished":
        run(campaign_spec(name, seeds=seeds), name)
    return list(rows(folder))


def rows(folder: CampaignFolder) -> Iterator[dict[str, Any]]:
    facts = folder.facts()
    for arm in folder.summarise(facts)["arms"]:
        mine = facts[arm["label"], arm["seed"]]
        given = [row for one in mine for row in one["assignments"]]
        points = [(0.0, arm["start"]["accuracy"]), *((one["elapsed_seconds"], one["accuracy"]) for one in mine)]
        yield {
            "campaign": folder.name,
            "label": arm["label"],
            "seed": arm["seed"],
            "elapsed_seconds": " ".join(f"{second:.2f}" for second, _ in points),
            "accuracy": " ".join(f"{score:.4f}" for _, score in points),
            **{key: round(statistics.fmean(one[key] for one in mine), 3) for key in MEANS},
            "predicted_seconds": round(statistics.fmean(row["predicted_seconds"] for row in given), 4),
            "peak_bytes": max(row["peak_bytes"] for row in given),
            "wall_seconds": round(sum(one["wall_round_seconds"] for one in mine), 1),
        }


def keep(name: str, new: Sequence[Mapping[str, Any]]) -> None:
    """Put a campaign's rows in the place of its former ones."""
    old = [row for row in kept() if row["campaign"] != name]
    found = [*old, *({**row, **provenance()} for row in new)]
    order = list(PRESETS)
    found.sort(key=lambda row: order.index(row["campaign"]))
    with FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


def kept() -> list[dict[str, Any]]:
    return list(csv.DictReader(FILE.open(encoding="utf-8"))) if FILE.exists() else []


def summary(found: Sequence[Mapping[str, str]], asked: float | None = None) -> Iterator[dict[str, Any]]:
    """A line a method of each campaign: means over seeds, time to the least best of those that learn, FedQuad's speed-up over each."""
    for name in dict.fromkeys(row["campaign"] for row in found):
        arms: dict[str, list[Mapping[str, str]]] = {}
        for row in found:
            if row["campaign"] == name:
                arms.setdefault(row["label"], []).append(row)
        each = {label: {row["seed"]: curve(row) for row in mine} for label, mine in arms.items()}
        best = {label: [max(score for _, score in one) for one in mine.values()] for label, mine in each.items()}
        gains = {label: statistics.fmean(best[label]) - next(iter(each[label].values()))[0][1] for label in arms}
        target = asked or min(min(best[label]) for label in arms if label not in curves.hardly_learn(gains))
        times = {label: {int(seed): curves.crossing(one, target) for seed, one in mine.items()} for label, mine in each.items()}  # fmt: skip
        for label, mine in arms.items():
            reached = [time for time in times[label].values() if time is not None]
            sooner = (
                curves.speed_up(times["fedquad"], times[label]) if "fedquad" in arms and label != "fedquad" else None
            )
            final = [one[-1][1] for one in each[label].values()]
            yield {
                "campaign": name,
                "label": label,
                "seeds": len(mine),
                "final": round(100 * statistics.fmean(final), 1),
                "deviation": round(100 * statistics.stdev(final), 1) if len(final) > 1 else "",
                "best": round(100 * statistics.fmean(best[label]), 1),
                "target": round(100 * target, 1),
                "reached": len(reached),
                "seconds_to_target": round(statistics.fmean(reached), 1) if len(reached) == len(mine) else "",
                "speed_up": f"{sooner.mean:.2f}" if sooner else "",
                "interval": f"{sooner.low:.2f}-{sooner.high:.2f}" if sooner and sooner.low is not None else "",
                **{key: round(statistics.fmean(float(row[key]) for row in mine), 2) for key in MEANS},
                "predicted_seconds": round(statistics.fmean(float(row["predicted_seconds"]) for row in mine), 3),
                "peak_MiB": round(max(int(row["peak_bytes"]) for row in mine) / 2**20),
            }


def curve(row: Mapping[str, str]) -> list[tuple[float, float]]:
    return list(zip(map(float, row["elapsed_seconds"].split()), map(float, row["accuracy"].split())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="where the campaigns lie")
    parser.add_argument("--only", default=",".join(PRESETS), help="presets, by commas")
    parser.add_argument("--seeds", help="seeds instead of those above")
    parser.add_argument("--summary", action="store_true", help="only read the kept rows")
    parser.add_argument("--target", type=float, help="of the summary, as a share")
    options = parser.parse_args()
    if not options.summary:
        if options.home is None:
            parser.error("--home: campaigns of hours need a place that stays")
        os.environ["FEDQUAD_HOME"] = str(options.home)
        for name in options.only.split(","):
            keep(name, play(name, options.seeds or PRESETS[name]))
    for row in summary(kept(), options.target):
        print("  ".join(f"{key}={value}" for key, value in row.items() if value != ""))


if __name__ == "__main__":
    main()
