"""A round's devices as a table for people: a row each; of a large fleet a row a class, the slowest and those that failed."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

MOST_ROWS = 50  # devices of a round that are shown one by one
SLOWEST, FAILED = 10, 20
Row = Mapping[str, Any]


def device_table(rows: Sequence[Row]) -> tuple[list[dict[str, Any]], str]:
    """The table of a round's assignments, and what is to be said of it: nothing where every device has its row."""
    if len(rows) <= MOST_ROWS:
        return [_one(row) for row in rows], ""
    slowest = sorted(rows, key=lambda row: -row["seconds"])[:SLOWEST]
    failed = [row for row in rows if row["failure"]]
    shown = [*_classes(rows), *map(_one, slowest), *map(_one, failed[:FAILED])]
    said = f"{len(rows)} devices: each class's means, the {SLOWEST} slowest"
    if failed:
        said += f", {min(len(failed), FAILED)} of {len(failed)} that failed"
    return shown, said


def _one(row: Row) -> dict[str, Any]:
    return {
        "device": row["device"],
        "class": row["class"],
        "mode": row["mode"],
        "depth": len(row["trained"]),
        "quantized": len(row["quantized"]),
        "seconds": round(row["seconds"], 1),
        "waiting": round(row["wait_seconds"], 1),
        "failure": row["failure"],
    }


def _classes(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """A row a class: means, and how many failed."""
    of_class: dict[str, list[Row]] = {}
    for row in rows:
        of_class.setdefault(row["class"], []).append(row)
    for name, members in of_class.items():
        failures = sum(bool(row["failure"]) for row in members)
        yield {
            "device": f"{len(members)} devices",
            "class": name,
            "mode": "",
            "depth": round(fmean(len(row["trained"]) for row in members), 1),
            "quantized": round(fmean(len(row["quantized"]) for row in members), 1),
            "seconds": round(fmean(row["seconds"] for row in members), 1),
            "waiting": round(fmean(row["wait_seconds"] for row in members), 1),
            "failure": f"{failures} failed" if failures else "",
        }
