"""A tag a word, which make up spans: F1 over spans that are right in kind, beginning and end.

Tags stand in this order: O, then B-kind and I-kind of each kind, so that spans can be told from their numbers.

    spans([0, 1, 2, 0, 3])   # {(1, 3, 0), (4, 5, 1)}: words 1 and 2 of the first kind, word 4 of the second
"""

from collections.abc import Iterable, Sequence

import numpy as np

from fedquad.errors import SpecError
from fedquad.objective import Metric, Objective, Sums
from fedquad.prices import heads

OUTSIDE = "O"


def in_order(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags that there are, and those missing beside them, in the order that spans are told by."""
    given = set(tags)
    if strange := sorted(tag for tag in given if tag != OUTSIDE and not tag.startswith(("B-", "I-"))):
        raise SpecError(
            f"{strange[0]!r} is no tag of a span: there are O, B-kind where one begins and I-kind where it goes on"
        )
    kinds = sorted({tag[2:] for tag in given if tag != OUTSIDE})
    return (OUTSIDE, *(f"{place}-{kind}" for kind in kinds for place in "BI"))


def spans(tags: Sequence[int]) -> set[tuple[int, int, int]]:
    """(begin, end, kind) of each span; one that goes on without having begun begins there."""
    found, begin, kind = set(), 0, -1
    for at, tag in enumerate([*tags, 0]):
        here, begins = (tag - 1) // 2 if tag else -1, tag % 2 == 1
        if kind >= 0 and (begins or here != kind):
            found.add((begin, at, kind))
            kind = -1
        if here >= 0 and kind < 0:
            begin, kind = at, here
    return found


def score(sums: Sums) -> dict[str, float]:
    hits, guessed, given = (int(sums[name]) for name in ("hits", "guessed", "given"))
    right, words = int(sums["right"]), int(sums["count"])
    return {
        "span_f1": 2 * hits / (guessed + given) if guessed + given else 0.0,
        "tag_accuracy": right / words if words else 0.0,
    }


OBJECTIVE = Objective(
    name="token_classification",
    metrics=(Metric(name="span_f1"), Metric(name="tag_accuracy")),
    score=score,
    nothing=lambda labels: {name: np.zeros((), np.int64) for name in ("hits", "guessed", "given", "right")},
    head=heads.of_tokens,
    task_type="TOKEN_CLS",
)
