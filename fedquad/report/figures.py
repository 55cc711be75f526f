"""The figures of a report, in the paper's forms: 7 accuracy against time, 8 time to target, 9 waiting, 10 ablations, and who got what.

A figure is drawn once and saved twice, and comes with what it says in words: its caption, its text alternative, and the values that
the page shows under a pointer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedquad.report import evidence as series
from fedquad.report.evidence import Evidence
from fedquad.report.looks import FAINT, INK, Look, looks
from fedquad.report.words import amount, axis_of, percent, scale_of, seconds

WIDTH = 5.2  # inches; 374 units, which a phone shows at nearly their size
ROW = 0.17  # inches of a row of a heat map or of bars
MIB = 2**20
SCATTER = 400  # points a label; more are one cloud
TOLD = 6  # labels that a text alternative tells of one by one


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """A figure that is drawn, and its words."""

    name: str
    title: str
    caption: str
    alternative: str
    figure: Any  # matplotlib's
    hover: list[tuple[Any, str, float, float, str]] = field(default_factory=list)  # axes, label, x, y, words
    grids: list[tuple[Any, str, str, float, np.ndarray]] = field(
        default_factory=list
    )  # axes, panel, axis, left edge, rows


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """What every figure of a page shares."""

    evidence: Evidence
    looks: Mapping[str, Look]
    labels: Sequence[str]

    def gid(self, label: str, part: str) -> str:
        """The name by which the page's switches find what belongs to a label."""
        return f"arm-{self.labels.index(label)}-{part}"


def all_of(evidence: Evidence) -> list[Drawing]:
    """Every figure there is something to draw for, in the order in which they are read."""
    page = Page(evidence, looks(evidence.labels), evidence.labels)
    return [drawing for draw in FIGURES if (drawing := draw(page)) is not None]


def _figure(height: float, columns: int = 1, **more: Any) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False, **more)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(color=FAINT, linewidth=0.6)
        one.set_axisbelow(True)
        one.tick_params(length=2, color=INK)
    return figure, axes if columns > 1 else axes[0]


def _curves(page: Page, name: str, title: str, caption: str, labels: Sequence[str]) -> Drawing | None:
    """The score against the fleet's time: a line a label, the range of its seeds behind it, the targets across."""
    bands = {label: found for label in labels if (found := series.band(page.evidence.curves(label)))}
    if not bands:
        return None
    unit, scale = scale_of(max(found.x[-1] for found in bands.values()))
    metric, times = page.evidence.metric, page.evidence.metric.scale
    figure, axes = _figure(3.1)
    drawing = Drawing(name, title, caption, _told(page, labels), figure)
    for label, found in bands.items():
        look, x = page.looks[label], found.x / scale
        if np.any(found.low < found.high):
            axes.fill_between(x, times * found.low, times * found.high, color=look.light, alpha=0.16, linewidth=0, gid=page.gid(label, f"{name}-band"))  # fmt: skip
        every = max(1, len(x) // 8)
        axes.plot(x, times * found.mean, color=look.light, linestyle=look.line, marker=look.marker, markevery=every, markersize=3.5,
                  linewidth=1.4, gid=page.gid(label, f"{name}-line"))  # fmt: skip
        for at in range(len(x)):
            words = f"{label}: {metric.say(found.mean[at])}{metric.unit} at {seconds(found.x[at])}"
            drawing.hover.append((axes, label, x[at], times * found.mean[at], words))
    for target in page.evidence.summary["comparison"]["targets"]:
        axes.axhline(times * target["target"], color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(f"target {metric.say(target['target'])}{metric.unit}", (0.01, times * target["target"]), xycoords=("axes fraction", "data"),
                      ha="left", va="bottom", color=INK, fontsize=8)  # fmt: skip
    axes.set(xlabel=f"fleet time, {unit}", ylabel=axis_of(metric))
    axes.set_xlim(left=0)
    return drawing


def accuracy(page: Page) -> Drawing | None:
    several = len(page.evidence.seeds) > 1
    caption = (
        f"Test {page.evidence.metric.words} against the fleet's time (the paper's Figure 7)."
        + (" A line is the mean over the seeds while all of them run, the band is from the lowest to the highest of them." if several else "")
        + " Dashed across: the targets."
    )  # fmt: skip
    title = f"{page.evidence.metric.words.capitalize()} against time"
    return _curves(page, "accuracy", title, caption, page.labels)


def ablations(page: Page) -> Drawing | None:
    """FedQuad and what is left of it without one of its parts."""
    ours = [label for label in page.labels if label.rpartition("/")[2].startswith("fedquad")]
    if len(ours) < 2:
        return None
    caption = "FedQuad beside its variants, such as without activation quantization (wo_qd) and without adaptive depth (wo_ld): the paper's Figure 10."
    return _curves(page, "ablations", "Ablations", caption, ours)


def _told(page: Page, labels: Sequence[str]) -> str:
    """What a figure of curves shows, for who does not see it."""
    rows = {row["label"]: row for row in page.evidence.summary["comparison"]["methods"]}
    metric = page.evidence.metric
    known = sorted(
        (rows[label] for label in labels if label in rows), key=lambda row: -metric.sign * row["best_score"]["mean"]
    )
    told = [f"{row['label']} ends at {metric.say(row['final_score']['mean'])}{metric.unit} after {seconds(row['total_seconds']['mean'])}" for row in known]  # fmt: skip
    return f"Lines of test {metric.words} against fleet time. {_some(told)}"


def _some(told: Sequence[str]) -> str:
    more = f"; and {len(told) - TOLD} more, in the tables" if len(told) > TOLD else ""
    return "; ".join(told[:TOLD]) + more + "."


def _bars(
    page: Page, name: str, title: str, caption: str, axis: str, rows: Sequence[tuple[str, Mapping[str, Any] | None, str]],
    what: str, scale: float = 1.0,
) -> Drawing | None:  # fmt: skip
    """A bar a label with the interval over its seeds; rows are (label, spread, words)."""
    if not any(found for _, found, _ in rows):
        return None
    figure, axes = _figure(0.7 + ROW * max(2, len(rows)) * 1.15)
    drawing = Drawing(
        name, title, caption, f"Bars of {what}. {_some([f'{label} {words}' for label, _, words in rows])}", figure
    )
    most = max(found["mean"] for _, found, _ in rows if found) / scale
    for at, (label, found, words) in enumerate(rows):
        if found is None:
            axes.annotate(
                words, (0.005 * most, at), va="center", fontsize=8, color=INK, gid=page.gid(label, f"{name}-none")
            )
            continue
        mean = found["mean"] / scale
        axes.barh(at, mean, height=0.72, color=page.looks[label].light, gid=page.gid(label, f"{name}-bar"))[0].set_gid(page.gid(label, f"{name}-bar"))  # fmt: skip
        if found["low"] is not None:
            axes.plot([found["low"] / scale, found["high"] / scale], [at, at], color=INK, linewidth=1.1, marker="|", markersize=5,
                      gid=page.gid(label, f"{name}-interval"))  # fmt: skip
        drawing.hover.append((axes, label, mean, at, f"{label}: {words}"))
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    axes.set_ylim(max(2, len(rows)) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel(axis)
    axes.grid(axis="y", visible=False)
    return drawing


def time_to_target(page: Page) -> Drawing | None:
    targets = page.evidence.summary["comparison"]["targets"]
    if not targets:
        return None
    target = targets[-1]
    rows = []
    for row in target["rows"]:
        found = row["over_seeds"]
        missed = f"reached with {row['reached']} of {len(row['seeds'])} seeds" if row["reached"] else "not reached"
        rows.append((row["label"], found, seconds(found["mean"]) if found else missed))
    unit, scale = scale_of(max((found["mean"] for _, found, _ in rows if found), default=1))
    metric = page.evidence.metric
    goal = f"{metric.say(target['target'])}{metric.unit}"
    caption = f"Fleet time until {goal} test {metric.words}, {target['rule']} (the paper's Figure 8), with the interval over the seeds where there are several."
    return _bars(
        page,
        "time-to-target",
        f"Time to {goal}",
        caption,
        f"fleet time, {unit}",
        rows,
        f"the fleet time to {goal}",
        scale,
    )


def waiting(page: Page) -> Drawing | None:
    rows = [
        (row["label"], row["mean_wait_seconds"], seconds(row["mean_wait_seconds"]["mean"])) for row in _methods(page)
    ]
    caption = "How long a device waits for the others in a round, on the mean (the paper's Figure 9)."
    return _bars(page, "waiting", "Waiting", caption, "mean waiting a round, s", rows, "the mean waiting time a round")


def traffic(page: Page) -> Drawing | None:
    rows = [(row["label"], row["total_bytes"], amount(row["total_bytes"]["mean"], "B")) for row in _methods(page)]
    return _bars(
        page, "traffic", "Traffic", "Bytes up and down, all rounds together.", "traffic, MB", rows, "traffic", 1e6
    )


def energy(page: Page) -> Drawing | None:
    rows = [(row["label"], row["total_joules"], amount(row["total_joules"]["mean"], "J")) for row in _methods(page)]
    return _bars(
        page,
        "energy",
        "Energy",
        "Energy of all devices, waiting included, all rounds together.",
        "energy, kJ",
        rows,
        "energy",
        1e3,
    )


def _methods(page: Page) -> Sequence[Mapping[str, Any]]:
    return page.evidence.summary["comparison"]["methods"]  # type: ignore[no-any-return]


def _heat(
    page: Page, name: str, title: str, caption: str, alternative: str, panels: Mapping[str, np.ndarray], axis: str, unit: str, top: float,
) -> Drawing | None:  # fmt: skip
    """Panels side by side: rows are labels, columns rounds or layers, the darker the more."""
    if not panels or not all(found.size and np.isfinite(found).any() for found in panels.values()):
        return None
    labels = page.labels
    figure, axes = _figure(0.95 + ROW * max(4, len(labels)), len(panels), sharey=True)
    drawing = Drawing(name, title, caption, alternative, figure)
    first = 0.5 if axis == "round" else -0.5  # rounds count from 1, layers from 0
    for one, (head, found) in zip(np.atleast_1d(axes), panels.items()):
        shown = one.imshow(found, aspect="auto", interpolation="nearest", cmap="viridis_r", vmin=0, vmax=top or 1,
                           extent=(first, first + found.shape[1], len(labels) - 0.5, -0.5))  # fmt: skip
        one.grid(visible=False)
        one.set_title(head, fontsize=9, color=INK)
        one.set_xlabel(axis)
        one.xaxis.get_major_locator().set_params(integer=True, nbins=5)
        one.set_yticks(range(len(labels)), labels)
        drawing.grids.append((one, head if len(panels) > 1 else "", axis, first, found))
    figure.colorbar(shown, ax=axes, fraction=0.04, pad=0.02, label=unit).ax.tick_params(length=2, color=INK)
    return drawing


def depth(page: Page) -> Drawing | None:
    return _given(page, "depth", "trained", "Who trained how deep", "LoRA depth d")


def quantized(page: Page) -> Drawing | None:
    return _given(page, "int8", "quantized", "Who kept how many layers in INT8", "INT8 layers a")


def _given(page: Page, name: str, key: str, title: str, unit: str) -> Drawing | None:
    panels = series.by_class(page.evidence, key)
    top = max((float(np.nanmax(found)) for found in panels.values() if np.isfinite(found).any()), default=0)
    if name == "int8" and not top:
        return None
    caption = f"{unit[0].upper()}{unit[1:]} that each class of devices was given, round by round: mean over its devices and over the seeds."
    told = [f"{label}: " + ", ".join(f"{head} {np.nanmean(found[at]):.1f}" for head, found in panels.items() if np.isfinite(found[at]).any())
            for at, label in enumerate(page.labels)]  # fmt: skip
    alternative = f"Heat map of {unit} by class and round. Means over the rounds: {_some(told)}"
    return _heat(page, name, title, caption, alternative, panels, "round", unit, top)


def coverage(page: Page) -> Drawing | None:
    found = series.coverage(page.evidence)
    told = [f"{label}: {percent(row[0])} % the lowest layer, {percent(row[-1])} % the highest" for label, row in zip(page.labels, found) if np.isfinite(row).any()]  # fmt: skip
    return _heat(page, "coverage", "Layer coverage", "Share of the asked devices that trained each layer, over all rounds; layer 0 is next to the input.",
                 f"Heat map of the share of devices that trained each layer. {_some(told)}", {"all devices": found}, "layer", "share", 1.0)  # fmt: skip


def memory(page: Page) -> Drawing | None:
    """The range of what was used of what was free, by label and class."""
    shares = series.memory_shares(page.evidence)
    if not shares:
        return None
    classes = page.evidence.classes
    figure, axes = _figure(0.8 + ROW * max(2, len(page.labels)) * 1.3)
    told = [f"{label} up to {percent(max(found.max() for (name, _), found in shares.items() if name == label))} %"
            for label in page.labels if any(name == label for name, _ in shares)]  # fmt: skip
    caption = f"Predicted peak of every assignment over the memory that was free; from the least to the most, dot at the median, classes from above: {', '.join(classes)}. Right of the line does not fit."
    drawing = Drawing(
        "memory",
        "Memory used of what was free",
        caption,
        f"Ranges of memory used over memory free. {_some(told)}",
        figure,
    )
    for (label, name), found in shares.items():
        at = page.labels.index(label) + (classes.index(name) - (len(classes) - 1) / 2) * 0.24
        low, middle, high = 100 * np.quantile(found, (0, 0.5, 1))
        look = page.looks[label]
        axes.plot([low, high], [at, at], color=look.light, linewidth=1.6, gid=page.gid(label, f"memory-{name}"))
        axes.plot(middle, at, color=look.light, marker="o", markersize=3, gid=page.gid(label, f"memory-{name}-median"))
        drawing.hover.append(
            (axes, label, middle, at, f"{label}, {name}: {low:.0f} to {high:.0f} %, median {middle:.0f} %")
        )
    axes.axvline(100, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(page.labels)), page.labels)
    axes.set_ylim(len(page.labels) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("peak over free memory, %")
    axes.grid(axis="y", visible=False)
    return drawing


def predicted(page: Page) -> Drawing | None:
    """What devices took against what the cost model, or their pace, had predicted."""
    found = {label: pairs for label, pairs in series.times(page.evidence).items() if len(pairs)}
    if not found:
        return None
    figure, axes = _figure(3.1)
    told = [
        f"{label} took {np.median(pairs[:, 1] / pairs[:, 0]):.2f} times what was predicted, on the median"
        for label, pairs in found.items()
    ]
    caption = "Seconds that a device took for its round against those it was predicted to take, an assignment a point; on the line the prediction is right."
    drawing = Drawing(
        "predicted",
        "Predicted and measured time",
        caption,
        f"Points of measured against predicted seconds. {_some(told)}",
        figure,
    )
    most = max(float(pairs.max()) for pairs in found.values())
    for label, pairs in found.items():
        look = page.looks[label]
        some = pairs[:: -(-len(pairs) // SCATTER)]
        axes.plot(some[:, 0], some[:, 1], color=look.light, linestyle="none", marker=look.marker, markersize=2.4, alpha=0.55,
                  rasterized=len(found) * SCATTER > 1000, gid=page.gid(label, "predicted-points"))  # fmt: skip
        middle = np.median(pairs, axis=0)
        words = (
            f"{label}: {np.median(pairs[:, 1] / pairs[:, 0]):.2f} times the prediction on the median of {len(pairs)}"
        )
        drawing.hover.append((axes, label, float(middle[0]), float(middle[1]), words))
    axes.plot([0, most], [0, most], color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set(xlabel="predicted, s", ylabel="taken, s")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    return drawing


FIGURES: Sequence[Callable[[Page], Drawing | None]] = (
    accuracy, time_to_target, waiting, ablations, depth, quantized, coverage, memory, traffic, energy, predicted,
)  # fmt: skip
