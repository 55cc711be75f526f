"""A profile in a terminal: progress while it is measured, then measured beside analytic, and how far the fit is off."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fedquad.cli.tables import titled
from fedquad.report.words import amount

MEANING = {
    "c_f": "forward, and what does not grow with depth",
    "c_d": "one more trained layer",
    "c_a": "quantizing one layer",
    "m_f": "model, and what does not grow with depth",
    "m_o": "one more trained layer",
    "m_q": "what quantizing one layer saves",
}


@contextmanager
def progress() -> Iterator[Callable[[str, float], None]]:
    """Yield what tells how far it is: a bar on a terminal, a line for each new stage elsewhere."""
    if not sys.stderr.isatty():
        told: list[str] = []

        def tell(stage: str, share: float) -> None:
            if stage not in told:
                told.append(stage)
                print(f"profile: {stage}", file=sys.stderr)

        yield tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("loading", total=1.0)
        yield lambda stage, share: bar.update(task, description=stage, completed=share)


def summary(profile: Mapping[str, Any], path: Path, picture: Path) -> Group:
    """The six constants, the fit's errors, and where everything is."""
    measured, analytic, errors = profile["constants"], profile["analytic"], profile["errors"]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for name in ("measured", "analytic"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("what it is", overflow="fold")
    speed = analytic["c_d"] / measured["c_d"] if measured["c_d"] else float("nan")
    for key, meaning in MEANING.items():
        if key.startswith("c"):
            cells = f"{1e3 * measured[key]:.2f} ms", f"{amount(analytic[key], 'FLOP')}"
        else:
            cells = amount(measured[key], "B"), amount(analytic[key], "B")
        table.add_row(key, *cells, meaning)
    title = ", ".join(f"{profile[key]}" for key in ("model", "device", "precision", "attention"))
    lines = (
        f"Fit: seconds within {errors['seconds']:.1%}, bytes within {errors['bytes']:.1%}; on pairs (d, a) held out "
        f"of it {errors['seconds_held_out']:.1%} and {errors['bytes_held_out']:.1%}:",
        f"{', '.join(_held_out(profile))} (seconds, bytes).",
        f"One more layer runs at {amount(speed, 'FLOP/s')}; analytic c_a is the paper's 0.75 c_d.",
        f"Profile: {path}    set cost.profile to it, cost.memory and cost.quantization to measured",
        f"Figures: {picture}",
    )
    head = f"{title}, batch {profile['batch']}, sequence {profile['sequence']}"
    return Group(titled(head, table), *(Text(line) for line in lines))


def _held_out(profile: Mapping[str, Any]) -> list[str]:
    """How far the fit is off on each pair that it never saw."""
    from fedquad.report.profile_figures import predicted

    found = []
    for one in profile["samples"]:
        if one["held_out"]:
            pair = one["depth"], one["quantized"]
            off = [predicted(profile, key, *pair) / one[key] - 1 for key in ("seconds", "peak_bytes")]
            found.append(f"{pair} {off[0]:+.1%} {off[1]:+.1%}")
    return found
