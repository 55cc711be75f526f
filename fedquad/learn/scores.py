"""What evaluation counts, and the measures made of it: numpy only, so that a server adds chunks up without torch.

Scores are counts and sums, so chunks add; `confusion[i, j]` counts examples of class i that were taken for class j.
"""

from dataclasses import dataclass

import numpy as np

from fedquad.types import Ints


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """The evaluation of some examples; add the chunks in order, since the sum of losses rounds."""

    confusion: Ints
    loss_sum: float

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(confusion=self.confusion + other.confusion, loss_sum=self.loss_sum + other.loss_sum)

    @property
    def examples(self) -> int:
        return int(self.confusion.sum())

    @property
    def loss(self) -> float:
        return self.loss_sum / max(self.examples, 1)


def accuracy(confusion: Ints) -> float:
    """Share of examples on the diagonal; 0 of none."""
    total = int(confusion.sum())
    return int(np.trace(confusion)) / total if total else 0.0


def f1(confusion: Ints) -> float:
    """F1 of class 1 for two classes, as GLUE reports it for QQP; the mean over classes for more."""
    hits = np.diag(confusion).astype(np.float64)
    given = confusion.sum(axis=1) + confusion.sum(axis=0)
    each = np.divide(2 * hits, given, out=np.zeros_like(hits), where=given > 0)
    return float(each[1] if len(each) == 2 else each.mean())
