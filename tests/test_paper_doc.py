"""docs/paper.md names every campaign of the paper, commands that exist, and the figures that the CSV file holds."""

import csv
import re
from pathlib import Path

from fedquad import discover

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")


def test_every_campaign_of_the_paper_is_in_the_table_and_every_name_there_is_a_campaign() -> None:
    for name in discover.presets():
        stem, suffix = re.fullmatch(r"(.*?)((?:-(?:bert|deberta|low|medium))?)", name).groups()  # type: ignore[union-attr]
        family = re.sub(r"(fig7)[b-d]$", r"\1a", stem)
        if name.startswith("paper-"):
            assert f"`{family}`" in TEXT, name
            assert not suffix or f"`{suffix}`" in TEXT, name
    known = {n for name in discover.presets() for n in (name, *discover.other_names(name))}
    assert set(re.findall(r"`((?:paper|mini)-(?:fig|table)[\w-]+)`", TEXT)) <= known


def test_what_costs_are_said_to_be_is_what_the_file_holds() -> None:
    rows = list(csv.DictReader((ROOT / "benchmarks" / "paper_costs.csv").open(encoding="utf-8")))
    shown = re.findall(r"^\| (\w\w) \| .*? \| ([\d.]+) \| ([\d.]+) \|", TEXT, flags=re.MULTILINE)
    told = {(figure, float(ours)) for figure, _, ours in shown}
    assert len(shown) == len(told) == 17
    assert told <= {(row["figure"], float(row["ours"])) for row in rows}
    memory = [
        row
        for row in rows
        if row["figure"] in ("1b", "2a", "3b") and "step" not in row["what"] and "ms" not in row["what"]
    ]
    assert len(memory) == 8
    assert all(abs(float(row["difference"])) < 0.01 for row in memory)
