"""A drawn fleet as a picture: what memory and speed each device has, and how they change over the rounds."""

from pathlib import Path

import numpy as np

from fedquad.errors import SpecError
from fedquad.fleets import fleet as fleets
from fedquad.fleets.boards import CLASSES
from fedquad.fleets.fleet import Fleet
from fedquad.prices.cost import CostModel

COLOURS = {"strong": "#1b6ca8", "moderate": "#e08e0b", "weak": "#b3322c"}
FORMATS = (".png", ".svg", ".pdf")
MIB = 2**20


def save(fleet: Fleet, cost: CostModel, seed: int, rounds: int, path: Path) -> None:
    """Draw memory against speed, and memory over the rounds, into a file."""
    if path.suffix not in FORMATS:
        raise SpecError(f"--picture is {str(path)!r}, but its ending is one of {', '.join(FORMATS)}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [fleets.draw(fleet, cost, seed, round) for round in range(1, rounds + 1)]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    now, over = figure.subplots(1, 2)
    for index, name in enumerate(CLASSES):
        rows = np.flatnonzero(fleet.class_of == index)
        if not len(rows):
            continue
        free = np.array([one.memory_bytes[rows] for one in drawn]) / MIB
        speed = np.array([one.flops[rows] for one in drawn]) / 1e9
        now.scatter(speed.ravel(), free.ravel(), s=8, alpha=0.35, color=COLOURS[name], label=f"{name} ({len(rows)})")
        across = range(1, rounds + 1)
        over.fill_between(across, free.min(axis=1), free.max(axis=1), alpha=0.25, color=COLOURS[name], linewidth=0)
        over.plot(across, free[:, 0], color=COLOURS[name], linewidth=1)
    now.set(xlabel="sustained GFLOP/s", ylabel="free memory, MiB", title=f"all rounds, priced as {cost.name}")
    over.set(xlabel="round", ylabel="free memory, MiB", title="range of each class, and its first device")
    now.legend(frameon=False)
    for axes in (now, over):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
