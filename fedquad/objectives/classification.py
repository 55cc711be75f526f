"""One label an example: accuracy and F1 from a confusion matrix, where `confusion[i, j]` counts class i taken for class j."""

import numpy as np

from fedquad.objective import ACCURACY, Metric, Objective, Sums
from fedquad.prices import heads
from fedquad.types import Ints


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


def score(sums: Sums) -> dict[str, float]:
    return {"accuracy": accuracy(sums["confusion"]), "f1": f1(sums["confusion"])}


OBJECTIVE = Objective(
    name="classification",
    metrics=(ACCURACY, Metric(name="f1")),
    score=score,
    nothing=lambda labels: {"confusion": np.zeros((labels, labels), np.int64)},
    head=heads.of_sequence,
    task_type="SEQ_CLS",
    has_classes=True,
)
