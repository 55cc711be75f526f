"""How far an update may go: against what AdamW can do at all, and against what the others did.

measure    |delta|_F over the sum of the rates of its steps, per trained layer and of the head
absolute   64 sqrt(n) for n numbers: AdamW moves one by at most (1 - 0.9) / sqrt(1 - 0.999) = 3.2 rates a step, and of B
           sqrt(r0 / r) times as far in the campaign's unit
relative   training.update_bound times the median of this round's measures and of the last rounds' medians; with fewer than
           three of them there is no median to speak of
"""

from collections.abc import Sequence

import numpy as np

from fedquad.types import Adapter, Assignment, Floats

ABSOLUTE = 64.0
LEAST_REFERENCES = 3
ROUNDS_KEPT = 5


def nothing_yet(layers: int) -> Floats:
    """The medians of the last rounds, before there was any: a row a round, a column a layer, the head last."""
    return np.full((ROUNDS_KEPT, layers + 1), np.nan)


def measures(delta: Adapter, assignment: Assignment, layers: int) -> Floats:
    """An update's measure per layer, the head last; NaN where it trained nothing."""
    found = np.full(layers + 1, np.nan)
    rates = assignment.steps * assignment.learning_rate
    for layer, pairs in delta.layers.items():
        found[layer] = _norm([array for pair in pairs.values() for array in (pair.a, pair.b)]) / max(rates, 1e-30)
    found[layers] = _norm(list(delta.head.values())) / max(rates, 1e-30)
    return found


def beyond_absolute(delta: Adapter, measured: Floats) -> str:
    """Why an update cannot be of AdamW, or nothing."""
    for layer, pairs in delta.layers.items():
        size = sum(pair.a.size + pair.b.size for pair in pairs.values())
        if not measured[layer] <= ABSOLUTE * np.sqrt(size):
            return _reason(f"layer {layer}", measured[layer], ABSOLUTE * np.sqrt(size), "what AdamW can do")
    size = sum(array.size for array in delta.head.values())
    if not measured[-1] <= ABSOLUTE * np.sqrt(size):
        return _reason("the head", measured[-1], ABSOLUTE * np.sqrt(size), "what AdamW can do")
    return ""


def limits(measured: Sequence[Floats], kept: Floats, bound: float) -> Floats:
    """The greatest measure that is taken, per layer; infinite where there are too few to compare with, or by bound 0."""
    known = np.vstack([kept, *measured]) if len(measured) else kept
    count = np.isfinite(known).sum(axis=0)
    limit = np.full(known.shape[1], np.inf)
    judged = (count >= LEAST_REFERENCES) & (bound > 0)
    medians = np.nanmedian(known[:, judged], axis=0)
    limit[judged] = np.where(medians > 0, bound * medians, np.inf)
    return limit


def beyond(measured: Floats, limit: Floats) -> str:
    """Why an update goes too far beside the others, or nothing."""
    for layer in np.flatnonzero(measured > limit):
        what = "the head" if layer == len(measured) - 1 else f"layer {layer}"
        return _reason(what, measured[layer], limit[layer], "training.update_bound times the median")
    return ""


def remember(kept: Floats, measured: Sequence[Floats]) -> Floats:
    """The medians with this round's as the last row."""
    here = np.vstack(measured) if len(measured) else np.full((1, kept.shape[1]), np.nan)
    row = np.full(kept.shape[1], np.nan)
    held = np.isfinite(here).any(axis=0)
    row[held] = np.nanmedian(here[:, held], axis=0)
    return np.vstack([kept[1:], row])


def unsound(merged: Adapter, before: Adapter, greatest: float) -> str:
    """Why a merged adapter must not be committed, or nothing; `greatest` is the norm of the greatest update merged."""
    norm, most = _norm(_arrays(merged)), 10 * (_norm(_arrays(before)) + greatest)
    if not np.isfinite(norm):
        return "the merged adapter holds numbers that are not finite"
    return f"the merged adapter has norm {norm:.3g}, and at most {most:.3g} can come of this" if norm > most else ""


def norm_of(adapter: Adapter) -> float:
    return _norm(_arrays(adapter))


def _arrays(adapter: Adapter) -> list[np.ndarray]:
    pairs = [pair for targets in adapter.layers.values() for pair in targets.values()]
    return [*(array for pair in pairs for array in (pair.a, pair.b)), *adapter.head.values()]


def _norm(arrays: Sequence[np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in arrays)))


def _reason(what: str, found: float, most: float, by: str) -> str:
    return f"{what} moved {found:.3g} per rate of its steps, and {by} is {most:.3g}"
