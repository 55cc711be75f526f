"""A drawn figure as files and as part of a page: SVG with its text as text, PNG, and an inline SVG that takes the page's colours."""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedquad.report.figures import Drawing
from fedquad.report.looks import COLOURS, FAINT, INK

SETTINGS = {
    "svg.fonttype": "none", "svg.hashsalt": "fedquad", "font.size": 8.5, "axes.labelcolor": INK, "text.color": INK, "axes.edgecolor": INK,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.linewidth": 0.7, "path.simplify": True,
}  # fmt: skip
SILENT = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # metadata, which names other hosts
DPI = 150
FONT = re.compile(r"font: (\d[^ ]*(?:px)?) [^;\"]*")


def svg(drawing: Drawing) -> str:
    """The figure as an SVG file: on its own paper, in its light colours."""
    file = io.StringIO()
    drawing.figure.savefig(file, format="svg", metadata=SILENT, dpi=DPI)
    drawing.figure.set_layout_engine("none")  # it is laid out; doing so again for the PNG would take as long
    return re.sub(r"<!DOCTYPE.*?>\s*", "", file.getvalue(), flags=re.DOTALL)


def png(drawing: Drawing) -> bytes:
    file = io.BytesIO()
    drawing.figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def inline(text: str, drawing: Drawing) -> str:
    """The same SVG as part of a page: its ids its own, its colours the page's, its paper left out."""
    body = text[text.index("<svg") :]
    body = re.sub(
        r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>",
        r'<svg viewBox="\1" role="img" aria-labelledby="NAME-alt">',
        body,
        count=1,
        flags=re.DOTALL,
    )
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'<g id="patch_1">.*?</g>', "", body, count=1, flags=re.DOTALL)  # the paper
    body = re.sub(r'<g id="(?!arm-)[^"]*">', "<g>", body)
    for at, (light, _) in enumerate(COLOURS):
        body = body.replace(light, f"var(--c{at})")
    body = (
        body.replace(INK, "var(--ink)")
        .replace(FAINT, "var(--faint)")
        .replace("NAME", drawing.name)
        .replace("#ffffff", "none")
    )
    body = re.sub(r'id="(arm-\d+)-([^"]*)"', r'class="\1"', body)
    body = FONT.sub(r"font: \1 var(--font)", body)
    body = re.sub(r"(\d+\.\d{2})\d+", r"\1", body)
    return re.sub(r"\n\s*", "\n", body)


def points(drawing: Drawing, labels: Sequence[str]) -> dict[str, Any]:
    """Which words the page shows where, in units of the inline SVG, labels as numbers.

    "points": [label or -1, x, y, words]; "grids": a panel's corners, its name, and the values of its rows.
    """
    scale, height = 72 / drawing.figure.dpi, drawing.figure.get_figheight() * 72

    def place(axes: Any, x: float, y: float) -> list[float]:
        across, up = axes.transData.transform((x, y))
        return [round(across * scale, 1), round(height - up * scale, 1)]

    found = [[labels.index(label), *place(axes, x, y), words] for axes, label, x, y, words in drawing.hover]
    grids = [
        {
            "panel": panel, "axis": axis, "first": round(first + 0.5),
            "corners": place(axes, first, -0.5) + place(axes, first + rows.shape[1], len(rows) - 0.5),
            "rows": [[None if np.isnan(value) else round(float(value), 2) for value in row] for row in rows],
        }
        for axes, panel, axis, first, rows in drawing.grids
    ]  # fmt: skip
    return {"points": found, "grids": grids}


def settings() -> Any:
    """The look that all figures share, while a report is made."""
    import matplotlib

    return matplotlib.rc_context(SETTINGS)
