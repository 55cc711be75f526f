"""Devices' folders with examples of their own, in every layout that a set may have."""

import json
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from fedquad.spec import DataSpec

BOARDS = {"jetson-agx-xavier": 1, "jetson-tx2": 3}
# What lies where: the split's file, and how many rows; in the order of the fleet.
LAYOUT = (
    ("jetson-agx-xavier/agx-1", "train.parquet", 24),
    ("jetson-tx2/a-small", "train.csv", 3),
    ("jetson-tx2/b-empty", "train.csv", 0),
    ("jetson-tx2/c-parts", "data/train-0000{}-of-00002.jsonl", 29),
)


def rows(start: int, count: int, kinds: str = "ab") -> list[dict[str, Any]]:
    """Texts whose label is their first word's."""
    return [
        {"text": f"w{at % 7} w{at % 11} w{at % 5}", "kind": kinds[at % len(kinds)], "user": f"user {at}"}
        for at in range(start, start + count)
    ]


def write(file: Path, some: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in some))
        return
    table = pyarrow.table({name: [str(row[name]) for row in some] for name in ("text", "kind", "user")})
    if file.suffix == ".csv":
        arrow_csv.write_csv(table, file)
    else:
        parquet.write_table(table, file)


def make(source: Path) -> Path:
    """The folders of LAYOUT, one too many, and what the server scores by."""
    at = 0
    for place, name, count in LAYOUT:
        folder = source / "devices" / place
        if "{}" in name:
            write(folder / name.format(0), rows(at, count - 4))
            write(folder / name.format(1), rows(at + count - 4, 4, "ca"))
        else:
            write(folder / name, rows(at, count))
        at += count
    write(source / "devices" / "jetson-tx2" / "d-spare" / "train.csv", rows(0, 4, "z"))
    (source / "devices" / "jetson-tx2" / ".cache").mkdir()
    write(source / "validation.csv", rows(100, 8))
    write(source / "test.jsonl", rows(200, 12, "abc"))
    return source


def data(source: Path | str, **other: Any) -> DataSpec:
    known = {"name": "kinds", "source": str(source), "text_columns": ("text",), "label_column": "kind"}
    return DataSpec(**{**known, "partition": "local", **other})
