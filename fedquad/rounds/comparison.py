"""The arms of a campaign, or of several, side by side: the same numbers for summary.json, the report and the terminal.

    targets   the paper's (the least of the methods' best) or the one given; where a method hardly learns, also that of the others
    methods   by label, over its seeds: final and best score, the score at the least budget that all arms spent, area under the curve
    robustness   what was lost of what was asked for, and how much of the score with it
    said      the result in words

Only what shares split, trace, backbone, adapter and prices is compared: `refuse_unlike` names the digest that differs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fedquad.errors import SpecError
from fedquad.objective import ACCURACY, Metric
from fedquad.rounds import robustness, statistics
from fedquad.rounds.statistics import Spread

Arm = Mapping[str, Any]  # of summary.json
Labels = Mapping[str, Sequence[Arm]]
OURS = "fedquad"
COMMON = ("split", "data", "trace", "adapter", "backbone", "prices")  # digests that arms of a seed share
OF_ALL_SEEDS = ("backbone", "prices")
BUDGETS = {
    "seconds": ("round_seconds",),
    "joules": ("energy_joules",),
    "bytes": ("upload_bytes", "download_bytes"),
}


def curve(arm: Arm, cost: str = "seconds", last: int = 1) -> list[tuple[float, float]]:
    """An arm's score against what it has cost until then; from 0 on where its start was evaluated."""
    points = [(0.0, arm["start"]["score"])] if arm["start"] else []
    spent = 0.0
    for facts in arm["rounds"]:
        spent += sum(facts[key] for key in BUDGETS[cost])
        points.append((facts["elapsed_seconds"] if cost == "seconds" else spent, facts["score"]))
    return statistics.smoothed(points, last)


def by_label(arms: Iterable[Arm]) -> dict[str, list[Arm]]:
    """Arms with at least one round, by label."""
    found: dict[str, list[Arm]] = {}
    for arm in arms:
        if arm["rounds"]:
            found.setdefault(arm["label"], []).append(arm)
    return found


def refuse_unlike(arms: Sequence[Arm]) -> None:
    """Refuse to compare arms that were not given the same, naming the digest that differs; a digest that one lacks says nothing."""
    seen: dict[tuple[str, int | None], tuple[str, Arm]] = {}
    for arm in arms:
        for kind in COMMON:
            if not (digest := arm["digests"].get(kind)):
                continue
            key = (kind, None if kind in OF_ALL_SEEDS else arm["seed"])
            known, first = seen.setdefault(key, (digest, arm))
            if known != digest:
                raise SpecError(
                    f"{_name(arm)} cannot be compared with {_name(first)}: their {kind} differs "
                    f"({digest[:12]}, and {known[:12]}); compare arms of the same data, fleet, rounds, model and prices"
                )


def of_one_campaign(arms: Sequence[Arm], target: float | None = None, metric: Metric = ACCURACY) -> dict[str, Any]:
    """What `compare` says, or why nothing is said: a campaign stays readable though its data was changed between two arms."""
    try:
        refuse_unlike(arms)
    except SpecError as error:
        return {
            "evaluations_averaged": 1,
            "reference": None,
            "targets": [],
            "methods": [],
            "robustness": [],
            "said": [str(error)],
        }
    return compare(arms, target, metric=metric)


def compare(
    arms: Sequence[Arm], target: float | None = None, last: int = 1, metric: Metric = ACCURACY
) -> dict[str, Any]:
    """All that can be said of these arms, as plain data; `last` evaluations are averaged before anything is read off a curve."""
    labels = by_label(arms)
    curves = {label: {arm["seed"]: curve(arm, last=last) for arm in mine} for label, mine in labels.items()}
    best = {
        label: [max((score for _, score in one), key=lambda score: metric.sign * score) for one in each.values()]
        for label, each in curves.items()
    }
    goals = _goals(labels, best, target, metric)
    reference = _reference(goals, curves, metric)
    targets = [_at_target(goal, curves, reference, metric) for goal in goals]
    found = {
        "evaluations_averaged": last,
        "reference": reference,
        "targets": targets,
        "methods": _methods(labels, best, last),
        "robustness": robustness.robustness(labels),
    }
    return {**found, "said": said(found, metric)}


def at_target(
    arms: Sequence[Arm], goal: float | None, last: int = 1, metric: Metric = ACCURACY
) -> list[dict[str, Any]]:
    """The arms with the round that reached the target, and when the line between its evaluation and the one before did."""
    found = []
    for arm in arms:
        hit = next((r for r in arm["rounds"] if goal is not None and _is_at(r["score"], goal, metric)), None)
        when = None if goal is None else _crossing(curve(arm, last=last), goal, metric)
        found.append({**arm, "seconds_to_target": when, "rounds_to_target": hit["round"] if hit else None})
    return found


def _is_at(score: float, goal: float, metric: Metric) -> bool:
    return metric.sign * score >= metric.sign * goal


def _crossing(found: statistics.Curve, goal: float, metric: Metric) -> float | None:
    """When a curve reaches a goal: rises to it, or falls."""
    return statistics.crossing([(cost, metric.sign * score) for cost, score in found], metric.sign * goal)


def _goals(
    labels: Labels, best: Mapping[str, Sequence[float]], target: float | None, metric: Metric
) -> list[dict[str, Any]]:
    """The target, and that of the arms that learn where some hardly do."""
    if not best:
        return []
    if target is not None:
        return [{"target": target, "rule": "given", "labels": list(best), "left_out": []}]
    worst = {"up": "least", "down": "greatest"}[metric.direction]
    goals = [
        {
            "target": _least(list(best.values()), metric),
            "rule": f"the {worst} of the arms' best",
            "labels": list(best),
            "left_out": [],
        }
    ]
    gains = {label: metric.sign * (_mean(each) - _begun(labels[label])) for label, each in best.items()}
    slow = statistics.hardly_learn(gains)
    if slow:
        rest = [label for label in best if label not in slow]
        goals.append({"target": _least([best[label] for label in rest], metric), "rule": f"the {worst} of the best of the arms that learn", "labels": rest,
                      "left_out": list(slow)})  # fmt: skip
    return goals


def _least(each: Sequence[Sequence[float]], metric: Metric) -> float:
    """The worst score of all of them."""
    return min((score for scores in each for score in scores), key=lambda score: metric.sign * score)


def _begun(arms: Sequence[Arm]) -> float:
    """Where a label begins: the score of its start, or, in older campaigns, of its first round."""
    return _mean([arm["start"]["score"] if arm["start"] else arm["rounds"][0]["score"] for arm in arms])


def _reference(
    goals: Sequence[Mapping[str, Any]], curves: Mapping[str, Mapping[int, statistics.Curve]], metric: Metric
) -> str | None:
    """Whom others are compared with, if there are any: FedQuad, or else whoever is first at the last target on the mean of its seeds."""
    if len(curves) < 2:
        return None
    if OURS in curves or not goals:
        return OURS if OURS in curves else None
    ours = [label for label in curves if label.rpartition("/")[2] == OURS]
    if ours:
        return ours[0]
    times = {
        label: [_crossing(one, goals[-1]["target"], metric) for one in curves[label].values()]
        for label in goals[-1]["labels"]
    }
    reached = {label: _mean([t for t in each if t is not None]) for label, each in times.items() if None not in each}
    return min(reached, key=lambda label: reached[label], default=None)


def _at_target(
    goal: Mapping[str, Any], curves: Mapping[str, Mapping[int, statistics.Curve]], reference: str | None, metric: Metric
) -> dict[str, Any]:
    """Everybody's time to one target, and how many times sooner the reference was."""
    times = {
        label: {seed: _crossing(one, goal["target"], metric) for seed, one in each.items()}
        for label, each in curves.items()
    }
    rows = []
    for label, each in times.items():
        reached = [time for time in each.values() if time is not None]
        row: dict[str, Any] = {
            "label": label,
            "seeds": list(each),
            "seconds": list(each.values()),
            "reached": len(reached),
        }
        row["over_seeds"] = plain(statistics.spread(reached)) if len(reached) == len(each) else None
        sooner = statistics.speed_up(*_paired(times[reference], each)) if reference and label != reference else None
        row["speed_up"] = plain(sooner) if sooner else None
        row["told_apart"] = statistics.is_told_apart(sooner) if sooner else None
        rows.append(row)
    return {**goal, "rows": rows}


def _paired(ours: statistics.Times, others: statistics.Times) -> tuple[statistics.Times, statistics.Times]:
    """The seeds that both have: campaigns that are compared may have others besides."""
    both = [seed for seed in ours if seed in others]
    return {seed: ours[seed] for seed in both}, {seed: others[seed] for seed in both}


def _methods(labels: Labels, best: Mapping[str, Sequence[float]], last: int) -> list[dict[str, Any]]:
    budgets = {}
    for cost in BUDGETS:
        curves = {label: [curve(arm, cost, last) for arm in arms] for label, arms in labels.items()}
        budgets[cost] = curves, min((one[-1][0] for each in curves.values() for one in each), default=0.0)
    begin = max((one[0][0] for each in budgets["seconds"][0].values() for one in each), default=0.0)
    rows = []
    for label, arms in labels.items():
        row = {
            "label": label,
            "seeds": [arm["seed"] for arm in arms],
            "start_score": _over([arm["start"]["score"] for arm in arms if arm["start"]]),
            "final_score": _over([arm["rounds"][-1]["score"] for arm in arms]),
            "best_score": _over(best[label]),
            "mean_wait_seconds": _over([arm["mean_wait_seconds"] for arm in arms]),
            "round_seconds": _over([_mean([r["round_seconds"] for r in arm["rounds"]]) for arm in arms]),
        }
        for cost, keys in BUDGETS.items():
            curves, budget = budgets[cost]
            reached = [statistics.value_at(one, budget) for one in curves[label]]
            row[f"score_at_{cost}"] = {"budget": budget, "over_seeds": _over(reached)}
            row[f"total_{cost}"] = _over([sum(r[key] for r in arm["rounds"] for key in keys) for arm in arms])
        until = budgets["seconds"][1]
        row["area"] = {"from": begin, "to": until, "over_seeds": _over([statistics.area(one, begin, until) for one in budgets["seconds"][0][label]])}  # fmt: skip
        rows.append(row)
    return rows


def said(found: Mapping[str, Any], metric: Metric = ACCURACY) -> list[str]:
    """The result in words, a sentence each."""
    if not found["targets"]:
        return ["No arm has finished a round yet."]
    lines = []
    first = max(found["methods"], key=lambda row: metric.sign * row["best_score"]["mean"])
    which = {"up": "highest", "down": "lowest"}[metric.direction] if len(found["methods"]) > 1 else "best"
    lines.append(f"The {which} {metric.words} is {first['label']}'s: {_told(first['best_score'], metric)}.")
    for target in found["targets"]:
        if target["left_out"]:
            lines.append(
                f"{_list(target['left_out'])} hardly {'learns' if len(target['left_out']) == 1 else 'learn'} here: the first target is one "
                f"that the others pass on their way, so the arms that learn are also compared at their own."
            )
        lines += _said_of(target, found["reference"], metric)
    return [*lines, *robustness.said(found["robustness"], metric)]


def _said_of(target: Mapping[str, Any], reference: str | None, metric: Metric) -> list[str]:
    at = metric.say(target["target"]) + metric.unit
    goal = f"{at} ({target['rule']})"
    rows = {row["label"]: row for row in target["rows"]}
    reached = {label: row["over_seeds"]["mean"] for label, row in rows.items() if row["over_seeds"]}
    lines = []
    if reached:
        first = min(reached, key=lambda label: reached[label])
        partly = any(row["reached"] and not row["over_seeds"] for row in rows.values())
        who = "Of those that reached it with every seed, " if partly else ""
        comes = "is first at" if len(rows) > 1 else "reached"
        lines.append(f"{who}{first} {comes} {goal}, after {_said(reached[first])} of the fleet's time.")
    if missed := [label for label in target["labels"] if not rows[label]["reached"]]:
        lines.append(f"{_list(missed)} did not reach {goal}.")
    for label in target["labels"]:
        row = rows[label]
        if row["reached"] and not row["over_seeds"]:
            lines.append(
                f"{label} reached {goal} with {row['reached']} of {len(row['seeds'])} seeds, so no mean is told."
            )
        elif row["speed_up"]:
            lines.append(f"{reference} reached {at} {sooner_in_words(row)}.")
    return lines


def sooner_in_words(row: Mapping[str, Any]) -> str:
    """A row's speed-up as words: by how much, how sure, or that nothing can be told."""
    found, label = row["speed_up"], row["label"]
    if row["told_apart"] is None:
        return f"{found['mean']:.2f} times as fast as {label}, on one seed, which says nothing of chance"
    held = f"{found['low']:.2f} to {found['high']:.2f} over {found['count']} seeds"
    if not row["told_apart"]:
        return f"{found['mean']:.2f} times as fast as {label} ({held}): the two cannot be told apart"
    return f"{found['mean']:.2f} times as fast as {label} ({held})"


def plain(found: Spread) -> dict[str, Any]:
    return asdict(found)


def _over(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Numbers of the seeds together; nothing if one of them is unknown."""
    known = [value for value in values if value is not None]
    return plain(statistics.spread(known)) if known and len(known) == len(values) else None


def _told(found: Mapping[str, Any], metric: Metric) -> str:
    shown = metric.say(found["mean"]) + metric.unit
    return (
        shown
        if found["deviation"] is None
        else f"{shown} (± {metric.say(found['deviation'])} over {found['count']} seeds)"
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _name(arm: Arm) -> str:
    return f"{arm['label']} s{arm['seed']}"


def _said(seconds: float) -> str:
    """Seconds with a figure that says something, however fast the model."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
