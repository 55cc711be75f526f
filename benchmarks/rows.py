"""Keep a benchmark's rows: beside its script as CSV, each with the device, versions, commit and date that it was measured with."""

import argparse
import csv
import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedquad.store.environment import environment, installed_version

HERE = Path(__file__).parent
READABLE = 50  # rows; of more than these none is shown
PACKAGES = ("torch", "transformers", "peft", "triton", "numpy")


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the option that all benchmarks have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON and write nothing")
    return parser


def provenance(device: str = "") -> dict[str, Any]:
    """Where and with what a row was measured."""
    found = environment(threads=1)
    versions = {name: installed_version(name) for name in PACKAGES}
    return {
        "device": device or found["machine"],
        "python": found["python"],
        "versions": " ".join(f"{name} {found}" for name, found in versions.items() if found != "not installed"),
        "commit": found["commit"],
        "date": datetime.date.today().isoformat(),
    }


def record(
    name: str, rows: Sequence[Mapping[str, Any]], *, as_json: bool, device: str = "", appends: bool = False
) -> None:
    """Print the rows as JSON, or write NAME.csv (or add to it) and show them, unless they are too many to read."""
    if as_json:
        print(json.dumps(list(rows), indent=1))
        return
    more = provenance(device)
    every = [*(kept(name) if appends else []), *({**row, **more} for row in rows)]
    with open(HERE / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in every for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(every)
    for row in rows if len(rows) <= READABLE else []:
        print("  ".join(f"{key}={value}" for key, value in row.items()))


def kept(name: str) -> list[dict[str, str]]:
    """The rows of NAME.csv; none where there is no such file."""
    path = HERE / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
