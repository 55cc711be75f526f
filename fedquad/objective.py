"""What a device is to learn, as a value: how it is scored, by which measure it is judged, what its head costs.

One file a kind in fedquad/objectives/, found by its name; how it is carried out on a device is the file of that name in
fedquad/learn/objectives/. A score is made of sums, which add up over batches and devices, and never of scores:

    counted = Counts({"confusion": ..., "loss": ..., "count": ...}) + Counts(...)
    classification.OBJECTIVE.score(counted.sums)   # {"accuracy": 0.81, "f1": 0.78}
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fedquad.errors import one_of
from fedquad.prices.heads import HeadCost

Sums = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A measure and which way is better; a share of one is told in percent."""

    name: str
    direction: Literal["up", "down"] = "up"
    is_share: bool = True

    @property
    def sign(self) -> int:
        """What makes more of a score the better one."""
        return 1 if self.direction == "up" else -1

    @property
    def words(self) -> str:
        return self.name.replace("_", " ")

    @property
    def scale(self) -> float:
        """What a score is multiplied by to be drawn."""
        return 100.0 if self.is_share else 1.0

    @property
    def unit(self) -> str:
        return " %" if self.is_share else ""

    def say(self, value: float | None) -> str:
        """A score as people read it, without its unit."""
        if value is None:
            return "-"
        return f"{100 * value:.1f}" if self.is_share else f"{value:.4g}"

    def best(self, values: Iterable[float]) -> float | None:
        """The best of some scores; of none, None."""
        return max(values, key=lambda value: self.sign * value, default=None)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


ACCURACY = Metric(name="accuracy")


def metric_of(document: Mapping[str, Any]) -> Metric:
    """The metric that a summary or an arm is judged by; those older than metrics, by accuracy."""
    if "metric" not in document:
        return ACCURACY
    known = document["metric"]
    return Metric(name=known["name"], direction=known["direction"], is_share=known["is_share"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A kind of task, without torch."""

    name: str
    metrics: tuple[Metric, ...]  # that it can be judged by, the usual one first
    score: Callable[[Sums], dict[str, float]]  # every metric, by name
    nothing: Callable[[int], Sums]  # what is counted besides loss and count, of no examples, from the number of labels
    head: HeadCost  # (shape, batch, sequence, labels, element bytes) -> what the head costs a step
    task_type: str  # PEFT's word
    outputs: Callable[[Sequence[str]], int] = len  # of the head, from the names of its labels
    has_classes: bool = False  # whether an example has one class, by which examples can be dealt out

    def metric(self, name: str) -> Metric:
        found = {metric.name: metric for metric in self.metrics}
        if name not in found:
            raise one_of(f"metric of {self.name}", name, list(found))
        return found[name]


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """What evaluation counted over some examples; `loss` is a sum over `count` of them. Add chunks in order: sums round."""

    sums: Sums

    def __add__(self, other: "Counts") -> "Counts":
        return Counts({name: value + other.sums[name] for name, value in self.sums.items()})

    @property
    def loss(self) -> float:
        return float(self.sums["loss"]) / max(int(self.sums["count"]), 1)

    def to_json(self) -> dict[str, Any]:
        return {name: np.asarray(value).tolist() for name, value in self.sums.items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Counts":
        return cls({name: np.asarray(value) for name, value in document.items()})
