"""What a device counted on the examples that it holds back, as the server takes it: the objective's sums, each of its form and bounded.

    {"validation": {"confusion": [[3, 1], [0, 2]], "loss": 1.25, "count": 6}, "test": null}

A split of which it holds nothing back is null, and so is a sum that is no finite number.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedquad.objective import Counts, Objective, Sums
from fedquad.rounds import unpack

SPLITS = ("validation", "test")
MOST_BRACKETS = 10_000  # of a table a row each
MOST_SUM = 1e30


def read(data: bytes, objective: Objective, labels: int, most: int) -> dict[str, Counts]:
    """Counts by split; no count may be more than `most`. `unpack.Refused` says what is wrong."""
    document = unpack.strict_json(data, "its counts", MOST_BRACKETS)
    splits = unpack.keys(document, frozenset(SPLITS), "its counts")
    like: Sums = {**objective.nothing(labels), "loss": np.zeros(()), "count": np.zeros((), np.int64)}
    return {split: _counts(splits[split], like, most) for split in SPLITS if splits[split] is not None}


def write(counts: Mapping[str, Counts]) -> dict[str, Any]:
    """The inverse of `read`."""
    return {split: _plain(counts[split]) if split in counts else None for split in SPLITS}


def _counts(found: object, like: Sums, most: int) -> Counts:
    fields = unpack.keys(found, frozenset(like), "its counts")
    return Counts({name: _sum(fields[name], empty, f"its {name}", most) for name, empty in like.items()})


def _sum(found: object, like: Any, what: str, most: int) -> Any:
    """Numbers in the form of `like`; whole ones from 0 to `most`."""
    if like.shape:
        rows = unpack.listed(found, what, like.shape[0])
        if len(rows) != like.shape[0]:
            raise unpack.Refused(f"{what} has {len(rows)} entries, not {like.shape[0]}")
        return np.array([_sum(row, like[0], what, most) for row in rows], like.dtype)
    if like.dtype.kind == "i":
        return np.asarray(unpack.whole(found, what, 0, most), like.dtype)
    return np.asarray(np.nan if found is None else unpack.number(found, what, -MOST_SUM, MOST_SUM), like.dtype)


def _plain(counts: Counts) -> dict[str, Any]:
    return {
        name: None if np.ndim(v) == 0 and not np.isfinite(v) else np.asarray(v).tolist()
        for name, v in counts.sums.items()
    }
