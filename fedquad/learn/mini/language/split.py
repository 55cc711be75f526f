"""Which split a row belongs to, decided by the row itself: no size and no seed can put one row in two splits."""

import hashlib
from collections.abc import Callable, Iterator

from fedquad import rng
from fedquad.learn.mini.language.dice import Dice
from fedquad.learn.tables import Request, Table

Row = tuple[str, ...]
# Shares of the language, in 64ths. Held-out rows are the rarer ones, and draws that fall elsewhere are thrown away.
_BOUNDS = {"train": (0, 36), "validation": (36, 50), "test": (50, 64)}
_SIZES = {"train": 20_000, "validation": 1_000, "test": 2_000}


def table(
    task: str, columns: tuple[str, ...], labels: int, request: Request, draw: Callable[[Dice, int], Row]
) -> Table:
    """Return the requested rows, no two alike, with every label equally often."""
    size = _SIZES[request.split] if request.size is None else request.size
    dice = Dice(rng.stream(request.seed, task, request.split))
    seen: set[tuple[str, ...]] = set()
    rows: list[Row] = []
    kept: list[int] = []
    for label in _labels(dice, labels, size):
        while not _is_new(key := _key(row := draw(dice, label)), seen) or not _belongs(key, request.split):
            pass
        seen.add(key)
        rows.append(row)
        kept.append(label)
    return Table(
        columns={name: tuple(row[index] for row in rows) for index, name in enumerate(columns)}, labels=tuple(kept)
    )


def _labels(dice: Dice, labels: int, size: int) -> Iterator[int]:
    """Yield labels in random order, in shuffled blocks of one each: any first n rows are balanced."""
    for _ in range(-(-size // labels)):
        block = list(range(labels))
        while block and size:
            size -= 1
            yield block.pop(dice.below(len(block)))


def _key(row: Row) -> tuple[str, ...]:
    """Return what the row is told apart by: a pair turned round is the same pair."""
    return tuple(sorted(row))


def _is_new(key: tuple[str, ...], seen: set[tuple[str, ...]]) -> bool:
    """Refuse what is there already, and pairs of one sentence with itself."""
    return key not in seen and (len(key) == 1 or key[0] != key[1])


def _belongs(key: tuple[str, ...], split: str) -> bool:
    low, high = _BOUNDS[split]
    bucket = hashlib.sha256("\x1f".join(key).encode()).digest()[0] % 64
    return low <= bucket < high
