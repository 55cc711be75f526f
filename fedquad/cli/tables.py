"""What campaigns look like in a terminal: the closing table, the list, one campaign."""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from fedquad import discover
from fedquad.cli import duration
from fedquad.objective import Metric, metric_of
from fedquad.report.words import amount, headed, seconds
from fedquad.spec import ArmSpec, CampaignSpec
from fedquad.spec_text import keys
from fedquad.store import campaign as store

UNBOUNDED = 1000  # columns; a table measured inside its terminal is never wider than that
MOST_SAID = 14  # sentences below a table
PRESETS: Mapping[str, Callable[[str], bool]] = {  # in this order; the last takes all others
    "The paper's figures and tables in small": lambda name: name.startswith(("mini-fig", "mini-table")),
    "The paper's own": lambda name: name.startswith("paper-"),
    "To begin with": lambda name: True,
}
WIDE = 110  # from so many columns on, tables use full words and more room


def console() -> Console:
    """Where results go. A pipe gets COLUMNS or 100 columns, so that lines are not folded in the middle of a log."""
    wanted = Console(highlight=False)
    return wanted if wanted.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=100)


def campaign_summary(summary: Mapping[str, Any], spec: Mapping[str, Any], width: int) -> Group:
    """The closing table, what its figures mean, and what failed."""
    failed = [arm for arm in summary["arms"] if arm.get("failure")]
    lines = [Text(f"{arm['label']} s{arm['seed']} failed: {arm['failure']}", style="red") for arm in failed]
    table = titled(f"campaign {summary['campaign']}", _arms(summary, spec, width))
    return Group(table, *_notes(summary, spec), *lines)


def _arms(summary: Mapping[str, Any], spec: Mapping[str, Any], width: int) -> Table:
    wide = width >= WIDE
    several = len(spec["seeds"]) > 1
    table = _table(wide)
    table.add_column("arm", overflow="fold", min_width=8)  # the one that gives way in a narrow terminal
    metric = metric_of(summary)
    for header in (["seed"] if several else []) + _headers(metric, wide):
        table.add_column(header, justify="right", no_wrap=True)
    for arm in summary["arms"]:
        seed = [str(arm["seed"])] if several else []
        style = "red" if arm.get("failure") else None
        table.add_row(arm["label"], *seed, *_figures(arm, spec, metric), style=style)
    return _roomy(table, width)


def rounds(summary: Mapping[str, Any], spec: Mapping[str, Any], width: int) -> Table:
    """How the score went: as many rounds as fit, evenly spaced, the last among them."""
    table = _table(width >= WIDE)
    table.add_column("round", overflow="fold", min_width=8)
    last = max((len(arm["rounds"]) for arm in summary["arms"]), default=0)
    places = max(2, (width - 24) // 7)
    shown = (
        sorted({round((i + 1) * last / places) for i in range(places)} - {0}) if last > places else range(1, last + 1)
    )
    for number in shown:
        table.add_column(str(number), justify="right", no_wrap=True)
    for arm in summary["arms"]:
        known = {r["round"]: metric_of(summary).say(r["score"]) for r in arm["rounds"]}
        name = arm["label"] if len(spec["seeds"]) == 1 else f"{arm['label']} s{arm['seed']}"
        table.add_row(name, *(known.get(number, "") for number in shown))
    return table


def _roomy(table: Table, width: int) -> Table:
    """Put as much room between columns as the terminal has, up to three."""
    for room in (3, 2, 1):
        table.padding = (0, room, 0, 0)
        if Console(width=UNBOUNDED).measure(table).maximum <= width:
            break
    return table


def _headers(metric: Metric, wide: bool) -> list[str]:
    if wide:
        words = f"{headed('final', metric)},{headed('best', metric)},rounds,time to target,mean waiting,traffic,energy,over memory,failures"
        return words.split(",")
    return [
        headed("final", metric).replace(" ", "\n"),
        headed("best", metric).replace(" ", "\n"),
        "rounds",
        "to\ntarget",
        "mean\nwait",
        "traffic",
        "energy",
        "over\nmem",
        "fail-\nures",
    ]


def _figures(arm: Mapping[str, Any], spec: Mapping[str, Any], metric: Metric) -> list[str]:
    def total(*keys: str) -> float:
        return math.fsum(r[key] for r in arm["rounds"] for key in keys)

    return [
        metric.say(arm["final_score"]),
        metric.say(arm["best_score"]),
        f"{len(arm['rounds'])}/{spec['rounds']}",
        seconds(arm["seconds_to_target"]),
        seconds(arm["mean_wait_seconds"]),
        amount(total("upload_bytes", "download_bytes"), "B"),
        amount(total("energy_joules"), "J"),
        f"{total('memory_violations'):.0f}",
        f"{total('failures'):.0f}",
    ]


def _notes(summary: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterable[Text]:
    lines = summary["comparison"]["said"]
    for line in lines[:MOST_SAID]:
        yield Text(line)
    if len(lines) > MOST_SAID:
        yield Text(f"{len(lines) - MOST_SAID} more of this kind: fedquad campaign show {summary['campaign']}")
    for arm in {arm["label"]: arm for arm in summary["arms"]}.values():
        if remark := discover.remark(arm["method"]):
            yield Text(f"{arm['label']}: {remark}.")
    yield Text(fleet_line(spec), style="dim")


def fleet_line(spec: Mapping[str, Any]) -> str:
    """Which fleet the times, bytes and joules belong to, and what model they are charged for."""
    fleet = spec["fleet"]
    boards = ", ".join(f"{count} {board}" for board, count in fleet["boards"].items() if count)
    size = sum(fleet["boards"].values())
    if fleet["pools"]:
        return f"Fleet: {size} real devices ({boards}); times are theirs."
    priced = spec["cost"]["priced_as"]
    model = (
        f"{priced}, though {spec['model']['name']} is trained"
        if priced
        else f"{spec['model']['name']}, the model trained"
    )
    return f"Fleet: {size} simulated devices ({boards}); times, traffic and energy are those of {model}."


def where_next(folder: store.CampaignFolder, summary: Mapping[str, Any]) -> Text:
    """Where to look next."""
    uri = store.tracking_uri()
    curves = uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri}"
    if not all(arm.is_tracked() for arm in folder.arms()):
        curves = f"not all sent to MLflow yet; `fedquad campaign resume {folder.name}` sends the rest"
    lines = [("settings, rounds", f"fedquad campaign show {folder.name}"), ("curves", curves)]
    page = folder.path / "report" / "index.html"
    if page.exists():
        lines.insert(1, ("report", str(page)))
    scored = [arm for arm in summary["arms"] if arm["best_score"] is not None]
    if scored:
        best = max(scored, key=lambda arm: metric_of(summary).sign * arm["best_score"])
        lines.append(("best adapter", str(folder.arm(best["label"], best["seed"]).path / "best")))
    return Text("\n".join(f"{name + ':':<18}{value}" for name, value in lines))


def campaign_list(rows: Sequence[Mapping[str, Any]], width: int) -> Group:
    """A row a campaign; those that cannot be read below, with the reason."""
    broken = [Text(f"{row['campaign']} is broken: {row['error']}", style="red") for row in rows if "error" in row]
    table = _table(width >= WIDE)
    for name, justify in (
        ("campaign", "left"), ("state", "left"), ("arms", "right"), ("rounds", "right"), ("best", "right"),
        ("model", "left"), ("data", "left"), ("priced as", "left"),
    ):  # fmt: skip
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in (row for row in rows if "error" not in row):
        table.add_row(
            row["campaign"], row["state"], str(row["arms"]), f"{row['rounds_done']}/{row['rounds']}",
            row["best"], row["model"], row["data"], row["priced_as"] or row["model"],
        )  # fmt: skip
    return Group(table, *broken)


def preset_list(rows: Sequence[Mapping[str, Any]], width: int) -> Group:
    """Presets in groups, each with what it takes here and what else it is called."""
    parts: list[Text | Table] = []
    for title in PRESETS:
        table = _table(width >= WIDE)
        table.add_column("preset", no_wrap=True)
        table.add_column("time here", justify="right", no_wrap=True)
        table.add_column("what it is for")
        for row in rows:
            if next(name for name, one in PRESETS.items() if one(row["preset"])) == title:
                table.add_row(row["preset"], duration.words(row["expected"]), _about(row))
        parts += [Text(title, style="bold"), table, Text("")]
    sources = sorted({row["expected"]["source"] for row in rows if row["expected"]})
    return Group(*parts, Text(f"Times are expected ones, by {' and '.join(sources)}.", style="dim"))


def _about(row: Mapping[str, Any]) -> Text:
    also = ", ".join(row["also"])
    return Text.assemble(row["about"], (f" Also: {also}." if also else "", "dim"))


def setting_keys(width: int) -> Table:
    """Every key that --set changes, with its one sentence."""
    table = _table(width >= WIDE)
    table.add_column("key", no_wrap=True)
    table.add_column("what it sets")
    for key, about in [*keys(CampaignSpec), *keys(ArmSpec, "arms.LABEL.")]:
        table.add_row(key, about)
    return table


def settings(spec: Mapping[str, Any], defaults: Mapping[str, Any], width: int) -> Table:
    """The settings of a campaign that are not the defaults; all of them are in spec.yaml."""
    table = _table(width >= WIDE)
    table.add_column("key", no_wrap=True)
    table.add_column("value", overflow="fold")
    usual = dict(_flat(defaults))
    for key, value in _flat({**spec, "arms": None}):
        if usual.get(key) != value and key != "arms":
            table.add_row(key, str(value))
    for arm in spec["arms"]:
        given = {key: value for key, value in arm.items() if value not in ("", {}, "default") and key != "method"}
        table.add_row("arm", " ".join([arm["method"], *(f"{key}={value}" for key, value in given.items())]))
    return table


def facts(known: Mapping[str, Any], width: int) -> Table:
    """A small two-column table of named facts."""
    table = _table(width >= WIDE)
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    table.show_header = False
    for name, value in known.items():
        table.add_row(name, str(value))
    return table


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _table(wide: bool) -> Table:
    return Table(box=None, padding=(0, 2 if wide else 1, 0, 0))


def titled(title: str, table: Table | Group) -> Group:
    """A table under its name; rich's own titles are folded to the table's width."""
    return Group(Text(title, style="bold"), table)
