"""A report's numbers in a terminal: the result in words, the targets, and the curves as letters."""

from collections.abc import Iterator

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fedquad.cli.tables import WIDE
from fedquad.report import evidence as series
from fedquad.report import tables as numbers
from fedquad.report.evidence import Evidence
from fedquad.report.words import axis_of, scale_of

HEIGHT = 12  # lines of the curve
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
COLOURS = ("blue", "white", "red", "magenta", "green", "yellow", "cyan", "bright_blue", "bright_red")
MARGIN = 6  # columns of the score's axis
MOST = 100  # columns of a curve
MOST_NAME = 16  # of a label that is never folded


def parts(evidence: Evidence, width: int) -> Iterator[RenderableType]:
    """What is printed, piece by piece."""
    for line in evidence.summary["comparison"]["said"]:
        yield Text(line)
    yield from targets(evidence, width)
    if drawn := curve(evidence, width):
        yield Text("")
        yield drawn


def targets(evidence: Evidence, width: int) -> Iterator[RenderableType]:
    """Time to each target, and quality under a budget, as the report has them."""
    for name, table in numbers.all_of(evidence).items():
        if name.startswith("target-") or name in ("budgets", "faults"):
            yield Text(f"\n{table.title}", style="bold")
            yield _rich(table, width)


def _rich(table: numbers.Table, width: int) -> Table:
    """A table of the report; a narrow terminal does without its last column, the paper's, and with less room."""
    made = Table(box=None, padding=(0, 2 if width >= WIDE else 1, 0, 0))
    shown = len(table.headers) - (width < WIDE and table.name.startswith("target-"))
    name = min(max((len(row[0].text) for row in table.rows), default=0), MOST_NAME)  # headers give way first
    for at, header in enumerate(table.headers[:shown]):
        made.add_column(header, justify="right" if at else "left", overflow="fold", min_width=0 if at else name)
    for row in table.rows:
        made.add_row(*(cell.text for cell in row[:shown]))
    return made


def curve(evidence: Evidence, width: int) -> Text | None:
    """The score against the fleet's time, a letter a label; where lines meet, the later letter is seen."""
    bands = {label: band for label in evidence.labels if (band := series.band(evidence.curves(label)))}
    if not bands:
        return None
    metric = evidence.metric
    columns = max(10, min(width, MOST) - MARGIN - 1)
    end = max(float(band.x[-1]) for band in bands.values()) or 1.0
    low, high = (
        min(float(band.mean.min()) for band in bands.values()),
        max(float(band.mean.max()) for band in bands.values()),
    )
    cells: list[list[tuple[str, str]]] = [[(" ", "")] * columns for _ in range(HEIGHT)]
    for at, band in enumerate(bands.values()):
        across = np.linspace(0, end, columns)
        for column, value in enumerate(np.interp(across, band.x, band.mean)):
            if band.x[0] <= across[column] <= band.x[-1]:
                row = HEIGHT - 1 - round((value - low) / ((high - low) or 1) * (HEIGHT - 1))
                cells[row][column] = (LETTERS[at % len(LETTERS)], COLOURS[at % len(COLOURS)])
    drawn = Text(f"{axis_of(metric).replace(',', '')} against fleet time\n", style="bold")
    for row, line in enumerate(cells):
        value = metric.say(high - (high - low) * row / (HEIGHT - 1))
        drawn.append(f"{value:>5} " if row in (0, HEIGHT // 2, HEIGHT - 1) else " " * MARGIN, style="")
        for letter, colour in line:
            drawn.append(letter, style=colour or "")
        drawn.append("\n")
    unit, scale = scale_of(end)
    drawn.append(f"{'':{MARGIN}}0{f'{end / scale:.1f} {unit}':>{columns - 1}}\n", style="")
    for at, label in enumerate(bands):
        drawn.append(f"{LETTERS[at % len(LETTERS)]} {label}  ", style=COLOURS[at % len(COLOURS)])
    return drawn
