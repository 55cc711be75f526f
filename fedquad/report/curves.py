"""The score against the fleet's time, one line an arm: the picture that compares methods."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedquad.objective import metric_of
from fedquad.report.words import axis_of


def draw(summary: Mapping[str, Any], path: Path) -> None:
    """Draw the arms of a campaign's summary into an image file; seeds of a label share their colour."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # 0.5 s that nobody else has to wait for
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    metric = metric_of(summary)
    labels = list(dict.fromkeys(arm["label"] for arm in summary["arms"]))
    for arm in summary["arms"]:
        seconds = [r["elapsed_seconds"] for r in arm["rounds"]]
        score = [metric.scale * r["score"] for r in arm["rounds"]]
        first = arm["seed"] == min(a["seed"] for a in summary["arms"] if a["label"] == arm["label"])
        colour = f"C{labels.index(arm['label'])}"
        axes.plot(seconds, score, marker="o", markersize=3, color=colour, label=arm["label"] if first else None)
    if summary["target"] is not None:
        goal = metric.scale * summary["target"]
        axes.axhline(goal, color="0.6", linewidth=0.8, linestyle="--")
        axes.annotate(
            f"target {metric.say(summary['target'])}{metric.unit}",
            (0.01, goal),
            xycoords=("axes fraction", "data"),
            va="bottom",
            color="0.4",
            fontsize=8,
        )
    axes.set_xlabel(
        f"fleet time, s (priced as {summary['priced_as']})" if summary.get("priced_as") else "fleet time, s"
    )
    axes.set_ylabel(axis_of(metric))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)
