"""The report of a campaign: one HTML page that holds all it needs, and beside it each figure as SVG and PNG and each table as CSV.

    report/index.html   figures/NAME.svg, NAME.png   tables/NAME.csv

Without its script the page is complete; the script adds values under the pointer and switches arms on and off.
"""

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from fedquad.errors import StoreError
from fedquad.report import figures, picture, tables
from fedquad.report.evidence import Evidence
from fedquad.report.figures import Drawing
from fedquad.report.looks import DASHES, Look, looks
from fedquad.report.page_parts import SCRIPT, STYLE
from fedquad.report.tables import Cell, Table

MOST_SAID = 14  # sentences; a page of forty-five arms has a table for the others
INLINE_CSV = 60_000  # bytes of a table that the page itself hands out; longer ones lie beside it


def write(folder: Path, evidence: Evidence) -> Path:
    """Write the report into a folder; returns the page's path. What lies there under the same names is replaced."""
    known = tables.all_of(evidence)
    beside: dict[str, bytes] = {f"tables/{name}.csv": tables.as_csv(table).encode() for name, table in known.items()}
    beside["tables/assignments.csv"] = tables.assignments(evidence).encode()
    drawn: list[tuple[Drawing, str]] = []
    with picture.settings():
        for drawing in figures.all_of(evidence):
            text = picture.svg(drawing)
            beside[f"figures/{drawing.name}.svg"] = text.encode()
            beside[f"figures/{drawing.name}.png"] = picture.png(drawing)
            drawn.append((drawing, text))
    page = "".join(html(evidence, drawn, known))
    for name, content in {**beside, "index.html": page.encode()}.items():
        _put(folder / name, content)
    return folder / "index.html"


def _put(path: Path, content: bytes) -> None:
    """Write a neighbour and rename it: who has the page open sees the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}; make room, or see who owns the folder"
        ) from error


def html(evidence: Evidence, drawn: Sequence[tuple[Drawing, str]], known: Mapping[str, Table]) -> Iterator[str]:
    """The page, part by part."""
    labels, look = evidence.labels, looks(evidence.labels)
    found = {drawing.name: _figure(drawing, text, labels) for drawing, text in drawn}
    yield f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(evidence.title)} - FedQuad</title>'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1">'
    yield f'<link rel="icon" href="data:,"><style>{STYLE}</style></head><body>\n'
    yield f'<header><p class="soft">FedQuad, {escape(evidence.state)}</p><h1>{escape(evidence.title)}</h1>{_about(evidence)}</header>\n'
    yield f'<section class="said"><h2>Result</h2><ul>{"".join(f"<li>{escape(line)}</li>" for line in _said(evidence))}</ul></section>\n'
    yield _switches(labels, look)
    yield _section("Learning", [known["methods"]], found, ("accuracy", "ablations"))
    yield _section(
        "Cost to target",
        [t for name, t in known.items() if name.startswith("target-")],
        found,
        ("time-to-target", "waiting"),
    )
    yield _section(
        "Quality under a budget", [known["budgets"]] if "budgets" in known else [], found, ("traffic", "energy")
    )
    yield _section("Who got what", [], found, ("depth", "int8", "coverage", "memory", "predicted"))
    yield _section("Robustness", [known[name] for name in ("faults", "failures") if name in known], found, ())
    yield _section("Arms", [known["arms"]], found, ())
    yield _computed(evidence)
    yield _downloads(known, [drawing.name for drawing, _ in drawn])
    yield f'<script type="application/json" id="labels">{_json(labels)}</script><script>{SCRIPT}</script></body></html>\n'


def _about(evidence: Evidence) -> str:
    """A line a campaign: what was trained on what."""
    lines = []
    for name, spec in evidence.specs.items():
        fleet = spec["fleet"]
        boards = ", ".join(f"{count} {board}" for board, count in fleet["boards"].items() if count)
        priced = spec["cost"]["priced_as"]
        kind = "real" if fleet["pools"] else "simulated"
        told = f"{spec['model']['name']} on {spec['data']['name']}, {kind} devices: {boards}" + (
            f"; priced as {priced}" if priced else ""
        )
        lines.append(told if len(evidence.specs) == 1 else f"{name}: {told}")
    return "".join(f'<p class="soft">{escape(line)}</p>' for line in lines)


def _said(evidence: Evidence) -> list[str]:
    """The result in words, with what stands against it."""
    lines = list(evidence.summary["comparison"]["said"])
    if len(lines) > MOST_SAID:
        lines = [
            *lines[:MOST_SAID],
            f"The other {len(lines) - MOST_SAID} sentences say the same of the other arms; the table of the target holds them.",
        ]
    if evidence.last > 1:
        lines.append(f"Scores are means of the last {evidence.last} evaluations.")
    over = sum(facts["memory_violations"] for arm in evidence.summary["arms"] for facts in arm["rounds"])
    failed = sum(facts["failures"] for arm in evidence.summary["arms"] for facts in arm["rounds"])
    lines += [f"{over} assignments needed more memory than their device had free."] if over else []
    lines += [f"{failed} devices gave no update in their round; the causes are below."] if failed else []
    lines += [
        f"{arm['label']} s{arm['seed']} ended early: {arm['failure']}"
        for arm in evidence.summary["arms"]
        if arm["failure"]
    ]
    return lines


def _switches(labels: Sequence[str], look: Mapping[str, Look]) -> str:
    """The legend; with the script, also what switches arms on and off."""
    chips = "".join(
        f'<label><input type="checkbox" checked value="{at}">{_swatch(look[label])}{escape(label)}</label>'
        for at, label in enumerate(labels)
    )
    return f'<nav class="arms" aria-label="Arms">{chips}<button class="all" type="button">all, none</button></nav>\n'


def _swatch(look: Look) -> str:
    dash = DASHES[look.dash]
    dashes = "" if isinstance(dash, str) else f' stroke-dasharray="{" ".join(str(2 * part) for part in dash[1])}"'
    return (
        f'<svg viewBox="0 0 44 12" aria-hidden="true"><line x1="1" y1="6" x2="43" y2="6" stroke="var(--c{look.colour})" '
        f'stroke-width="3"{dashes}/></svg>'
    )


def _section(title: str, shown: Sequence[Table], found: Mapping[str, str], names: Sequence[str]) -> str:
    there = "".join(found[name] for name in names if name in found)
    body = "".join(_table(table) for table in shown)
    return (
        f"<section><h2>{title}</h2>{f'<div class=figures>{there}</div>' if there else ''}{body}</section>\n"
        if there or body
        else ""
    )


def _figure(drawing: Drawing, text: str, labels: Sequence[str]) -> str:
    name, alternative = drawing.name, escape(drawing.alternative)
    links = f'<span class="links"><a href="figures/{name}.svg">SVG</a> <a href="figures/{name}.png">PNG</a></span>'
    return (
        f'<figure id="{name}"><h3>{escape(drawing.title)}</h3><div class="plot">{_with_title(picture.inline(text, drawing), name, alternative)}'
        f'<div class="tip"></div></div><figcaption>{escape(drawing.caption)} {links}</figcaption>'
        f'<script type="application/json">{_json(picture.points(drawing, labels))}</script></figure>\n'
    )


def _with_title(svg: str, name: str, alternative: str) -> str:
    """The drawing with its text alternative inside, where screen readers look for it."""
    head, _, rest = svg.partition(">")
    return f'{head}><desc id="{name}-alt">{alternative}</desc>{rest}'


def _table(table: Table) -> str:
    if not table.rows:
        return f"<h3>{escape(table.title)}</h3><p>None.</p>"
    head = "".join(f'<th scope="col">{escape(header)}</th>' for header in table.headers)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in table.rows)
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return f'<h3>{escape(table.title)}</h3><div class="wide"><table id="table-{table.name}"><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>{note}\n'


def _cell(cell: Cell) -> str:
    value = "" if cell.value is None else f' data-value="{escape(json.dumps(cell.value), quote=True)}"'
    long = ' class="long"' if len(cell.text) > 40 else ""
    return f"<td{long}{value}>{escape(cell.text)}</td>"


def _computed(evidence: Evidence) -> str:
    """The whole spec, the digests and what it was computed with."""
    parts = []
    for name, spec in evidence.specs.items():
        lines = "\n".join(f"{key}: {value}" for key, value in _flat(spec))
        parts.append(f"<h3>Settings of {escape(name)}</h3><pre>{escape(lines)}</pre>")
    seeds = {arm["seed"]: arm["digests"] for arm in evidence.summary["arms"] if arm["digests"]}
    digests = "\n".join(
        f"seed {seed}, {kind}: {digest}" for seed, known in seeds.items() for kind, digest in known.items()
    )
    environment = "\n".join(f"{key}: {value}" for key, value in evidence.summary["environment"].items())
    parts.append(
        f"<h3>Compared on (digests)</h3><pre>{escape(digests)}</pre><h3>Computed with</h3><pre>{escape(environment)}</pre>"
    )
    return f"<section><h2>What it was computed from</h2>{''.join(parts)}</section>\n"


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{key}.")
        elif isinstance(item, list) and item and isinstance(item[0], Mapping):
            for at, one in enumerate(item):
                yield (
                    f"{prefix}{key}[{at}]",
                    ", ".join(f"{name} {inner}" for name, inner in one.items() if inner not in ("", {}, "default")),
                )
        else:
            yield f"{prefix}{key}", item


def _downloads(known: Mapping[str, Table], names: Sequence[str]) -> str:
    """Tables as CSV: short ones from the page itself, so that they travel with it."""
    links = []
    for name, table in known.items():
        content = tables.as_csv(table).encode()
        where = (
            f"data:text/csv;base64,{base64.b64encode(content).decode()}"
            if len(content) <= INLINE_CSV
            else f"tables/{name}.csv"
        )
        links.append(f'<a download="{name}.csv" href="{where}">{name}.csv</a>')
    links.append('<a href="tables/assignments.csv">assignments.csv</a>')
    pictures = ", ".join(
        f'{name} <a href="figures/{name}.svg">SVG</a> <a href="figures/{name}.png">PNG</a>' for name in names
    )
    return (
        f'<section class="links"><h2>Files</h2><p>Tables: {" ".join(links)}</p><p>Figures: {pictures}</p></section>\n'
    )


def _json(value: Any) -> str:
    """JSON that cannot end the script it stands in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
