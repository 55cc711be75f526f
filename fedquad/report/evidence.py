"""What a report is made of: the summary, the spec and every round's facts, as plain data; and series over seeds drawn from them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedquad.fleets.boards import CLASSES
from fedquad.objective import Metric, metric_of
from fedquad.rounds import comparison, statistics

Facts = Mapping[str, Any]  # of a round, as rounds.jsonl has it
Rows = Sequence[Sequence[float]]
POINTS = 80  # of a line that is a mean over seeds; more are not seen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """A campaign, or several side by side, whose labels are then CAMPAIGN/LABEL."""

    title: str
    summary: Mapping[str, Any]
    specs: Mapping[str, Mapping[str, Any]]  # plain, by campaign
    facts: Mapping[tuple[str, int], Sequence[Facts]]  # by label and seed
    state: str  # finished, stopped, ...
    last: int = 1  # evaluations that a score is the mean of

    @property
    def labels(self) -> list[str]:
        """Every label that is to be shown, those without a round too."""
        return list(dict.fromkeys(arm["label"] for arm in self.summary["arms"]))

    @property
    def metric(self) -> Metric:
        """What the arms are judged by."""
        return metric_of(self.summary)

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(arm["seed"] for arm in self.summary["arms"]))

    @property
    def classes(self) -> list[str]:
        """Classes of devices that were planned for, the strongest first."""
        found = {row["class"] for _, _, row in self.assignments()}
        return [name for name in CLASSES if name in found] + sorted(found - set(CLASSES))

    def arms(self, label: str) -> list[Mapping[str, Any]]:
        """A label's arms that have at least one round."""
        return [arm for arm in self.summary["arms"] if arm["label"] == label and arm["rounds"]]

    def rounds(self, label: str) -> Iterator[Facts]:
        """Every round of every seed of a label."""
        for (name, _), rounds in self.facts.items():
            if name == label:
                yield from rounds

    def assignments(self) -> Iterator[tuple[str, Facts, Mapping[str, Any]]]:
        """Everything that any device was given: label, round, assignment."""
        for (label, _), rounds in self.facts.items():
            for facts in rounds:
                for row in facts["assignments"]:
                    yield label, facts, row

    def curves(self, label: str) -> list[list[tuple[float, float]]]:
        """The score against the fleet's seconds, a curve a seed."""
        return [comparison.curve(arm, last=self.last) for arm in self.arms(label)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Band:
    """A label's curve: the mean over its seeds where all of them have one, with the lowest and the highest of them."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def band(curves: Sequence[statistics.Curve]) -> Band | None:
    """The mean of curves, seed by seed read off at the same costs; one curve is itself."""
    if not curves:
        return None
    if len(curves) == 1:
        x, y = (np.array(part) for part in zip(*curves[0]))
        return Band(x=x, mean=y, low=y, high=y)
    begin, end = max(one[0][0] for one in curves), min(one[-1][0] for one in curves)
    at = np.unique([cost for one in curves for cost, _ in one if begin <= cost <= end])
    if len(at) > POINTS:
        at = np.unique([*np.linspace(begin, end, POINTS)])
    each = np.array([np.interp(at, [cost for cost, _ in one], [score for _, score in one]) for one in curves])
    return Band(x=at, mean=each.mean(axis=0), low=each.min(axis=0), high=each.max(axis=0))


def by_class(evidence: Evidence, key: str) -> dict[str, np.ndarray]:
    """How many layers devices trained (`trained`) or kept in INT8 (`quantized`): by class, mean of each label and round, over devices and seeds."""
    labels = evidence.labels
    last = max((len(rounds) for rounds in evidence.facts.values()), default=0)
    sums = {name: np.zeros((2, len(labels), last)) for name in evidence.classes}
    for label, facts, row in evidence.assignments():
        sums[row["class"]][:, labels.index(label), facts["round"] - 1] += (len(row[key]), 1)
    with np.errstate(invalid="ignore"):
        return {name: found[0] / found[1] for name, found in sums.items()}


def coverage(evidence: Evidence) -> np.ndarray:
    """Share of the asked devices that trained each layer: a row a label, a column a layer, over rounds and seeds."""
    layers = max((len(facts["holders"]) for rounds in evidence.facts.values() for facts in rounds), default=0)
    found = np.full((len(evidence.labels), layers), np.nan)
    for at, label in enumerate(evidence.labels):
        rounds = list(evidence.rounds(label))
        asked = sum(facts["participants"] for facts in rounds)
        if asked:
            found[at] = np.sum([facts["holders"] for facts in rounds], axis=0) / asked
    return found


def memory_shares(evidence: Evidence) -> dict[tuple[str, str], np.ndarray]:
    """Predicted peak over the memory that was free, of every assignment, by label and class."""
    found: dict[tuple[str, str], list[float]] = {}
    for label, _, row in evidence.assignments():
        if row["memory_bytes"]:
            found.setdefault((label, row["class"]), []).append(row["peak_bytes"] / row["memory_bytes"])
    return {key: np.array(values) for key, values in found.items()}


def times(evidence: Evidence) -> dict[str, np.ndarray]:
    """(predicted, taken) seconds of every assignment that was answered, by label."""
    found: dict[str, list[tuple[float, float]]] = {}
    for label, _, row in evidence.assignments():
        if not row["failure"] and row["seconds"] and row["predicted_seconds"]:
            found.setdefault(label, []).append((row["predicted_seconds"], row["seconds"]))
    return {label: np.array(pairs) for label, pairs in found.items()}


def failures(evidence: Evidence) -> list[tuple[str, str, int, int]]:
    """(label, cause, how often, first round) of every failure, devices' numbers left out of the cause; arms that gave up first."""
    found = {(arm["label"], f"the arm ended: {arm['failure']}"): [1, len(arm["rounds"]) + 1] for arm in evidence.summary["arms"] if arm["failure"]}  # fmt: skip
    for label, facts, row in evidence.assignments():
        if row["failure"]:
            entry = found.setdefault((label, row["failure"]), [0, facts["round"]])
            entry[0] += 1
    return [(label, cause, count, first) for (label, cause), (count, first) in found.items()]
