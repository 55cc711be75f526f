"""What a data set module offers: a `TextTask`, found by module name in `fedquad/learn/datasets/`.

`mini-nli` lives in `datasets/mini_nli.py` as `TASK = TextTask(name="mini-nli", ...)`; nothing else has to be edited.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text by column, and the label of each row: of classes, an index into the task's labels."""

    columns: Mapping[str, tuple[str, ...]]
    labels: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which rows are wanted: `size` None means all that there are (a generated task then makes its default number)."""

    split: Split
    size: int | None = None
    seed: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTask:
    """A text classification task: one or two text columns, named labels, and how its rows are had."""

    name: str
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    load: Callable[[Request], Table]
    objective: str = "classification"
    metrics: tuple[str, ...] = ()  # what it is scored by, the first of which judges; empty: the objective's usual one
    note: str = ""  # what a reader of its results must know
