"""What failures cost: how much of what was asked for was lost, and how much accuracy with it, method by method.

A label of several campaigns (`clean/fedquad`, `faulty/fedquad`) is set beside the label of the same method that lost least, seed by seed. The
difference is theirs in final accuracy, and its interval holds 95 of 100 means of seeds drawn again, as a speed-up's does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

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


def said(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for every label that has one of fewer losses beside it."""
    lines = []
    for row in rows:
        if (found := row["difference"]) is None:
            continue
        points, way = 100 * abs(found["mean"]), "below" if found["mean"] < 0 else "above"
        held = (
            "on one seed, which says nothing of chance"
            if found["low"] is None
            else f"{100 * found['low']:.1f} to {100 * found['high']:.1f} over {found['count']} seeds"
            + (": the two cannot be told apart" if found["low"] <= 0 <= found["high"] else "")
        )
        lines.append(
            f"With {100 * row['lost_share']:.1f} % of its updates lost, {row['label']} ended {points:.1f} points {way} {row['beside']} ({held})."
        )
    return lines


def _share(arms: Sequence[Mapping[str, Any]]) -> float:
    rounds = [facts for arm in arms for facts in arm["rounds"]]
    asked = sum(facts["participants"] for facts in rounds)
    return sum(facts["failures"] for facts in rounds) / asked if asked else 0.0


def _difference(ours: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Our final accuracy less theirs, over the seeds that both have."""
    theirs = {arm["seed"]: arm["final_accuracy"] for arm in others}
    found = [arm["final_accuracy"] - theirs[arm["seed"]] for arm in ours if arm["seed"] in theirs]
    return asdict(statistics.spread(found)) if found else None
