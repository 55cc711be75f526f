"""Keep a benchmark's rows: beside its script as CSV, each with the device, versions, commit and date that it was measured with."""

import csv
import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedquad.store.environment import environment

HERE = Path(__file__).parent


def provenance(threads: int = 1, device: str = "") -> dict[str, Any]:
    """Where and with what a row was measured."""
    found = environment(threads)
    versions = " ".join(f"{name} {found[name]}" for name in ("torch", "transformers", "numpy") if found.get(name))
    return {
        "device": device or found["machine"],
        "python": found["python"],
        "versions": versions,
        "commit": found["commit"],
        "date": datetime.date.today().isoformat(),
    }


def record(name: str, rows: Sequence[Mapping[str, Any]], *, as_json: bool, device: str = "") -> None:
    """Print the rows as JSON, or write NAME.csv and show them."""
    if as_json:
        print(json.dumps(list(rows)))
        return
    more = provenance(device=device)
    with open(HERE / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], *more], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **more} for row in rows)
    for row in rows:
        print("  ".join(f"{key}={value}" for key, value in row.items()))
