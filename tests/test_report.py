"""A report is whole by itself, says what summary.json says, and is small and quick enough at the size of the paper's table."""

import csv
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import big_campaign
import handmade
import pytest
from commands import Said, fedquad
from pretend_campaign import room

from fedquad.errors import SpecError, StoreError
from fedquad.report import page, words
from fedquad.report.looks import COLOURS, METHODS, looks
from fedquad.store.campaign import CampaignFolder
from tasks import report

MOST_BYTES, MOST_SECONDS = 2 * 10**6, 10.0
DRAWN = ("accuracy", "time-to-target", "waiting", "ablations", "depth", "int8", "coverage", "memory", "traffic", "energy", "predicted")  # fmt: skip


class Reader(HTMLParser):
    """What a page refers to, its figures with their text alternatives, its tables by id, and whether its tags are balanced."""

    EMPTY = ("meta", "link", "input", "line", "path", "use", "image", "rect", "br", "circle")

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.figures: dict[str, str] = {}
        self.tables: dict[str, list[list[tuple[str, Any]]]] = {}
        self.open: list[str] = []
        self._table = self._figure = self._row = None
        self._cell: list[Any] | None = None
        self._alternative = ""

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        known = dict(attributes)
        self.references += [
            known[key] for key in ("href", "src", "xlink:href", "action", "data", "srcset") if known.get(key)
        ]
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == "figure":
            self._figure = known["id"]
            self.figures[known["id"]] = ""
        if tag == "svg" and self._figure:
            assert known["role"] == "img"
            self._alternative = known["aria-labelledby"]
        if tag == "table":
            self._table = self.tables.setdefault(known["id"], [])
        if tag == "tr":
            self._row = []
            self._table.append(self._row)
        if tag in ("td", "th"):
            value = known.get("data-value")
            self._cell = ["", None if value is None else json.loads(value)]
            self._row.append(self._cell)
        self._is_alternative = tag == "desc" and known.get("id") == self._alternative

    def handle_startendtag(self, tag: str, attributes: Any) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in self.EMPTY:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "figure":
            self._figure = None
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell[0] += data
        if self._figure and self._is_alternative:
            self.figures[self._figure] += data


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def body(reader: Reader, name: str) -> list[list[tuple[str, Any]]]:
    return reader.tables[f"table-{name}"][1:]


def seconds_of(work: Callable[[], Any]) -> float:
    """CPU seconds of some work by itself: coverage's tracer, if there is one, looks away meanwhile."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        began = time.process_time()
        work()
        return time.process_time() - began
    finally:
        sys.settrace(tracer)


@pytest.fixture(scope="module")
def big() -> Any:
    """Nine methods, five seeds, fifty rounds, and their report."""
    with room() as home, pytest.MonkeyPatch.context() as patch:
        handmade.home_is(home, patch)
        folder = big_campaign.make("big", big_campaign.spec())
        folder.write_summary()
        report.write(handmade.make("warm", handmade.spec()))  # imports matplotlib and finds its fonts
        yield folder, report.write(folder)


def test_a_report_of_45_arms_and_50_rounds_is_small_and_quick(big: Any) -> None:
    folder, path = big
    assert path.stat().st_size <= MOST_BYTES
    tries = (seconds_of(lambda: report.write(folder)) for _ in range(3))
    assert any(spent <= MOST_SECONDS for spent in tries)  # a neighbour on the same core makes CPU seconds longer, too


def test_a_page_refers_to_no_other_host_and_to_nothing_that_is_not_beside_it(big: Any) -> None:
    _, path = big
    text, reader = path.read_text(), read(path)
    for reference in reader.references:
        if not reference.startswith(("data:", "#")):
            assert (path.parent / reference).is_file(), reference
    assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", re.sub(r"data:[^\"]*", "", text), re.IGNORECASE)
    assert not re.search(r"@import|fetch\(|XMLHttpRequest|url\((?!#)", text)
    for file in path.parent.glob("figures/*.svg"):
        strange = set(re.findall(r"https?://[^\"' <]+", file.read_text())) - {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }
        assert not strange, (file, strange)


def test_every_figure_has_a_text_alternative_and_lies_beside_the_page_as_svg_and_png(big: Any) -> None:
    _, path = big
    figures = read(path).figures
    assert tuple(sorted(figures)) == tuple(sorted(DRAWN))
    for name, alternative in figures.items():
        assert len(alternative) > 60, name
        assert "fedquad" in alternative, name
        assert (path.parent / "figures" / f"{name}.svg").read_text().lstrip().startswith("<?xml")
        assert (path.parent / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_the_page_s_numbers_are_those_of_summary_json(big: Any) -> None:
    folder, path = big
    summary = json.loads((folder.path / "summary.json").read_text())
    reader = read(path)
    rows = body(reader, "arms")
    assert len(rows) == len(summary["arms"]) == 45
    keys = (
        "label",
        "seed",
        None,
        "final_score",
        "best_score",
        "seconds_to_target",
        "rounds_to_target",
        "mean_wait_seconds",
        "state_digest",
    )
    for row, arm in zip(rows, summary["arms"]):
        assert row[2][1] == len(arm["rounds"]) == 50
        assert all(key is None or value == arm[key] for (_, value), key in zip(row, keys)), arm["label"]
        assert row[3][0] == words.percent(arm["final_score"])
        assert row[5][0] == words.seconds(arm["seconds_to_target"])
    comparison = summary["comparison"]
    for row, found in zip(body(reader, "methods"), comparison["methods"]):
        assert [row[at][1] for at in (0, 3, 4, 6, 7, 8)] == [
            found["label"], *(found[key]["mean"] for key in ("final_score", "best_score", "mean_wait_seconds", "total_bytes", "total_joules")),
        ]  # fmt: skip
    for row, found in zip(body(reader, "target-1"), comparison["targets"][0]["rows"]):
        assert row[2][1] == found["over_seeds"]["mean"]
        assert row[4][1] == (found["speed_up"] or {"mean": None})["mean"]
    assert summary["speedups"]["fedra"] == pytest.approx(
        next(row["speed_up"]["mean"] for row in comparison["targets"][0]["rows"] if row["label"] == "fedra")
    )
    text = path.read_text().replace("&#x27;", "'")
    for line in comparison["said"]:
        assert line in text


def test_what_went_wrong_is_there_with_its_cause(big: Any) -> None:
    folder, path = big
    rows = body(read(path), "failures")
    failed = sum(facts["failures"] for arm in folder.summarise()["arms"] for facts in arm["rounds"])
    assert failed > 0
    assert sum(row[2][1] for row in rows) == failed
    assert {row[1][0] for row in rows} == {"it did not answer in time"}


def test_tables_are_there_as_csv_with_unrounded_numbers(big: Any) -> None:
    folder, path = big
    rows = list(csv.DictReader((path.parent / "tables" / "rounds.csv").open()))
    arms = folder.summarise()["arms"]
    assert len(rows) == 45 * 50
    assert float(rows[0]["accuracy"]) == arms[0]["rounds"][0]["accuracy"]
    given = list(csv.DictReader((path.parent / "tables" / "assignments.csv").open()))
    assert len(given) == 45 * 50 * 9
    assert {"depth", "quantized", "predicted_seconds", "seconds", "memory_bytes", "peak_bytes"} <= set(given[0])


def test_the_whole_spec_and_the_digests_are_on_the_page(big: Any) -> None:
    _, path = big
    text = path.read_text()
    for part in (*handmade.DIGESTS.values(), "training.learning_rate: 0.003", "an abacus", "seeds: [0, 1, 2, 3, 4]"):
        assert part in text, part


def test_a_page_without_its_script_is_complete(big: Any) -> None:
    """Nothing is hidden but what only the script makes use of."""
    _, path = big
    style = path.read_text().partition("<style>")[2].partition("</style>")[0]
    hidden = {rule.partition("{")[0].strip() for rule in style.split("}") if "display:none" in rule}
    assert hidden == {".arms input", ".arms .all", ".tip", ".dot", ".off", ".js .arms input,.js .arms .all", ".links"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: Any, capsys: Any) -> Any:
    handmade.home_is(tmp_path / "home", monkeypatch)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, columns: int = 100) -> Said:
        monkeypatch.setenv("COLUMNS", str(columns))
        return fedquad(capsys, monkeypatch, *arguments)

    return run


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_campaigns_of_one_arm_and_of_hardly_a_round_have_a_report(run: Any, rounds: int) -> None:
    folder = handmade.make("small", handmade.spec(), rounds)
    said = run("campaign", "report", "small")
    assert said.code == 0, said.err
    assert "report:" in said.out
    assert len(body(read(folder.path / "report" / "index.html"), "arms")) == 1


def test_what_a_campaign_is_named_and_why_it_failed_never_becomes_markup(run: Any) -> None:
    folder = handmade.make("hurt", handmade.spec(), 2)
    folder.arm("fedlora", 0).note_failure("</script><script>alert(1)</script> & <b>")
    run("campaign", "report", "hurt")
    text = (folder.path / "report" / "index.html").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_report_and_show_as_json_hold_the_numbers_of_the_summary(run: Any) -> None:
    folder = handmade.make("one", handmade.spec("fedquad", "fedlora", seeds=(0, 1)))
    found = folder.summarise()["comparison"]
    assert run("campaign", "report", "one", "--json").document["comparison"] == found
    assert run("campaign", "show", "one", "--json").document["comparison"] == found
    averaged = run("campaign", "show", "one", "--mean-of", "2", "--json").document["comparison"]
    assert averaged["evaluations_averaged"] == 2
    assert averaged["targets"][0]["target"] == pytest.approx(0.55)


@pytest.mark.parametrize("columns", [80, 200])
def test_show_has_the_targets_and_a_curve_that_fits(run: Any, columns: int) -> None:
    handmade.make("one", handmade.spec("fedquad", "fedlora", seeds=(0, 1)))
    lines = run("campaign", "show", "one", columns=columns).out.splitlines()
    assert "test accuracy % against fleet time" in lines
    assert any(line.startswith("Cost to target: 60.0 %") for line in lines)
    assert max(len(line) for line in lines if not line.startswith("one:")) <= columns


def test_compare_puts_campaigns_side_by_side(run: Any, tmp_path: Path) -> None:
    for name, method in (("a", "fedquad"), ("b", "fedlora")):
        handmade.make(name, handmade.spec(method, seeds=(0, 1)))
    said = run("campaign", "compare", "a", "b", "--to", "there", "--json")
    assert said.code == 0, said.err
    assert [row["label"] for row in said.document["comparison"]["methods"]] == ["a/fedquad", "b/fedlora"]
    assert said.document["comparison"]["reference"] == "a/fedquad"
    rows = body(read(tmp_path / "there" / "index.html"), "arms")
    assert [(row[0][1], row[1][1]) for row in rows] == [
        ("a/fedquad", 0),
        ("a/fedquad", 1),
        ("b/fedlora", 0),
        ("b/fedlora", 1),
    ]
    assert "a/fedquad" in run("campaign", "compare", "a", "b").out
    assert (tmp_path / "home" / "comparisons" / "a+b" / "index.html").exists()


def test_campaigns_that_were_not_given_the_same_are_not_compared(run: Any, monkeypatch: Any) -> None:
    handmade.make("a", handmade.spec())
    monkeypatch.setattr(handmade, "DIGESTS", {**handmade.DIGESTS, "trace": "9" * 64})
    handmade.make("b", handmade.spec())
    said = run("campaign", "compare", "a", "b")
    assert (said.code, said.out) == (SpecError.exit_code, "")
    assert "their trace differs" in said.err
    assert run("campaign", "compare", "a").code == SpecError.exit_code
    assert run("campaign", "compare", "a", "a").code == SpecError.exit_code
    assert run("campaign", "compare", "a", "none").code == 4


def test_what_faults_cost_is_told_of_fleets_that_differ_in_nothing_else(
    run: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    methods, seeds = ("fedquad", "fedlora"), (0, 1, 2)
    handmade.make("clean", handmade.spec(*methods, seeds=seeds))
    monkeypatch.setattr(handmade, "DIGESTS", {**handmade.DIGESTS, "trace": "9" * 64})
    whole = handmade.facts
    monkeypatch.setattr(
        handmade, "facts", lambda number, accuracy=0.5: {**whole(number, accuracy - 0.02), "failures": 1}
    )
    described = handmade.spec(*methods, seeds=seeds)
    faulty = replace(described, fleet=replace(described.fleet, dropout=0.5))
    handmade.make("faulty", faulty)
    assert "their trace differs" in run("campaign", "compare", "clean", "faulty").err
    said = run("campaign", "compare", "clean", "faulty", "--faults", "--to", "there", "--json").document["comparison"]
    rows = {row["label"]: row for row in said["robustness"]}
    assert (rows["faulty/fedquad"]["beside"], rows["clean/fedquad"]["difference"]) == ("clean/fedquad", None)
    assert rows["faulty/fedquad"]["difference"]["mean"] == pytest.approx(-0.02)
    assert rows["faulty/fedlora"]["lost_share"] == 0.5
    assert (
        "With 50.0 % of its updates lost, faulty/fedquad ended 2.0 points below clean/fedquad (-2.0 to -2.0 over 3 seeds)."
        in said["said"]
    )
    shown = {row[0][1]: row[6][1] for row in body(read(tmp_path / "there" / "index.html"), "faults")}
    assert shown["faulty/fedquad"] == rows["faulty/fedquad"]["difference"]["mean"]
    assert "What failures cost" in run("campaign", "compare", "clean", "faulty", "--faults").out
    handmade.make("other", replace(faulty, fleet=replace(faulty.fleet, jitter=0.2)))
    refused = run("campaign", "compare", "clean", "other", "--faults")
    assert (refused.code, "differ in more than their faults" in refused.err) == (SpecError.exit_code, True)


def test_a_report_that_cannot_be_written_is_said_in_a_line(run: Any) -> None:
    folder = handmade.make("full", handmade.spec())
    (folder.path / "report").write_text("in the way")
    said = run("campaign", "report", "full")
    assert (said.code, len(said.err.splitlines())) == (StoreError.exit_code, 1)


def test_a_method_has_one_look_wherever_it_is_and_no_two_have_the_same() -> None:
    everywhere = looks(METHODS)
    assert len({(look.colour, look.dash, look.marker) for look in everywhere.values()}) == len(METHODS)
    for label in METHODS:
        assert looks([label])[label] == everywhere[label]
    both = looks(["a/fedquad", "b/fedquad"])
    assert both["a/fedquad"].colour == both["b/fedquad"].colour
    assert both["a/fedquad"].dash != both["b/fedquad"].dash
    many = looks([*METHODS, *(f"mine{n}" for n in range(36))])
    assert len({(look.colour, look.dash) for look in many.values()}) == 45


def test_colours_have_contrast_on_their_paper() -> None:
    """3 to 1 at least, as WCAG asks of graphics."""
    for light, dark in COLOURS:
        assert _contrast(light, "#f6f7f9") >= 3, light
        assert _contrast(dark, "#1c2026") >= 3, dark


def _contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_second_report_replaces_the_first_and_leaves_nothing_half(tmp_path: Path, monkeypatch: Any) -> None:
    handmade.home_is(tmp_path, monkeypatch)
    folder: CampaignFolder = handmade.make("twice", handmade.spec(), 2)
    first = page.write(tmp_path / "out", report.of_one(folder)).read_text()
    handmade.commit(folder, "fedlora", 0, 3)
    second = page.write(tmp_path / "out", report.of_one(folder)).read_text()
    assert first != second
    assert not list((tmp_path / "out").rglob(".*"))
