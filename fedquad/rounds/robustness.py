"""What failures cost: how much of what was asked for was lost, and how much of the score with it, method by method.

A label of several campaigns (`clean/fedquad`, `faulty/fedquad`) is set beside the label of the same method that lost least, seed by seed. The
difference is theirs in final score, and its interval holds 95 of 100 means of seeds drawn again, as a speed-up's does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fedquad.objective import ACCURACY, Metric
from fedquad.rounds import statistics

Labels = Mapping[str, Sequence[Mapping[str, Any]]]


def robustness(labels: Labels) -> list[dict[str, Any]]:
    """A row a label, arms of a label being its seeds, each with at least one round."""
    lost = {label: _share(arms) for label, arms in labels.items()}
    rows = []
    for label, arms in labels.items():
        same = [other for other in labels if other.rpartition("/")[2] == label.rpartition("/")[2]]
        least = min(same, key=lambda other: lost[other])
        beside = least if least != label and lost[least] < lost[label] else None
        rounds = [facts for arm in arms for facts in arm["rounds"]]
        rows.append(
            {
                "label": label,
                "asked": sum(facts["participants"] for facts in rounds),
                "lost": sum(facts["failures"] for facts in rounds),
                "lost_share": lost[label],
                "beside": beside,
                "difference": _difference(arms, labels[beside]) if beside else None,
            }
        )
    return rows


def said(rows: Sequence[Mapping[str, Any]], metric: Metric = ACCURACY) -> list[str]:
    """A sentence for every label that has one of fewer losses beside it."""
    lines = []
    for row in rows:
        if (found := row["difference"]) is None:
            continue
        way = "below" if found["mean"] < 0 else "above"
        form = ".1f" if metric.is_share else ".4g"
        apart = f"{metric.scale * abs(found['mean']):{form}} {'points' if metric.is_share else metric.words}"
        held = (
            "on one seed, which says nothing of chance"
            if found["low"] is None
            else f"{metric.scale * found['low']:{form}} to {metric.scale * found['high']:{form}} over {found['count']} seeds"
            + (": the two cannot be told apart" if found["low"] <= 0 <= found["high"] else "")
        )
        lines.append(
            f"With {100 * row['lost_share']:.1f} % of its updates lost, {row['label']} ended {apart} {way} {row['beside']} ({held})."
        )
    return lines


def _share(arms: Sequence[Mapping[str, Any]]) -> float:
    rounds = [facts for arm in arms for facts in arm["rounds"]]
    asked = sum(facts["participants"] for facts in rounds)
    return sum(facts["failures"] for facts in rounds) / asked if asked else 0.0


def _difference(ours: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Our final score less theirs, over the seeds that both have."""
    theirs = {arm["seed"]: arm["final_score"] for arm in others}
    found = [arm["final_score"] - theirs[arm["seed"]] for arm in ours if arm["seed"] in theirs]
    return asdict(statistics.spread(found)) if found else None
