"""Boards and drawn fleets in a terminal."""

from collections.abc import Sequence

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fedquad.cli.tables import titled
from fedquad.fleets import boards as facts
from fedquad.fleets.boards import CLASSES, Board
from fedquad.fleets.fleet import Fleet
from fedquad.prices.cost import CostModel
from fedquad.report.words import amount
from fedquad.types import Statuses

SHOWN_DEVICES = 40


def boards(chosen: Sequence[Board]) -> Group:
    """One line a board, with its class and free memory, and one a mode."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("board, mode", no_wrap=True)
    for name in ("CPU", "GPU", "memory", "peak", "sustained", "cap"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reboot")
    table.add_row("", "MHz", "MHz", "GB/s", "GFLOP/s", "GFLOP/s", "W", "", style="dim")
    for board in chosen:
        free = amount(facts.free_bytes(board), "B")
        table.add_row(f"[bold]{board.name}[/bold]", board.device_class, "", f"{free}", "", "", "", "")
        for mode in board.modes:
            table.add_row(
                f"  {mode.name}{' *' if mode.usual else ''}",
                f"{mode.cpu_cores} x {mode.cpu_mhz:g}",
                f"{mode.units} x {mode.clock_mhz:g}",
                f"{facts.memory_bandwidth(board, mode) / 1e9:.1f}",
                f"{facts.peak_flops(board, mode) / 1e9:.0f}",
                f"{facts.sustained_flops(board, mode) / 1e9:.0f}",
                "none" if mode.watts is None else f"{mode.watts:g}",
                "yes" if mode.needs_reboot else "",
            )
    notes = (
        "Beside a board's name: its class, and the memory that training can have. Peaks are fp32's.",
        "* takes part unless fleet.modes says otherwise. `fedquad fleet show BOARD` says where each number is from.",
    )
    return Group(table, *(Text(note, style="dim") for note in notes))


def sources(board: Board) -> Group:
    """Where every number of a board is from."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("number", no_wrap=True)
    table.add_column("value", no_wrap=True)
    table.add_column("source", overflow="fold")
    for name, source in board.sources.items():
        value = f"{len(board.modes)} modes" if name == "modes" else str(getattr(board, name))
        table.add_row(name, value, source)
    for mode in board.modes:
        if mode.source:
            table.add_row("mode", mode.name, mode.source)
    return titled(board.title, table)


def sample(fleet: Fleet, statuses: Statuses, cost: CostModel, round: int, seed: int) -> Group:
    """A drawn fleet: the classes, then the devices."""
    summary = Table(box=None, padding=(0, 2, 0, 0))
    summary.add_column("class")
    for name in ("devices", "least free", "most free", "slowest", "fastest"):
        summary.add_column(name, justify="right", no_wrap=True)
    for index, name in enumerate(CLASSES):
        rows = np.flatnonzero(statuses.class_of == index)
        if len(rows):
            free, speed = statuses.memory_bytes[rows], statuses.flops[rows]
            ranges = [amount(float(v), "B") for v in (free.min(), free.max())]
            ranges += [amount(float(v), "FLOP/s") for v in (speed.min(), speed.max())]
            summary.add_row(name, str(len(rows)), *ranges)
    left = len(statuses) - SHOWN_DEVICES
    notes = [f"{left} more devices; --json has all."] if left > 0 else []
    notes.append(f"Free memory is that of {cost.name}, batch {cost.batch}, sequence {cost.sequence}.")
    title = f"{len(statuses)} devices, seed {seed}, round {round}"
    return Group(titled(title, summary), Text(), _devices(statuses), *(Text(note, style="dim") for note in notes))


def _devices(statuses: Statuses) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, justify in (("device", "right"), ("board", "left"), ("mode", "left")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for name in ("free", "sustained", "watts"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("available")
    for device in range(min(len(statuses), SHOWN_DEVICES)):
        one = statuses[device]
        table.add_row(
            str(device),
            one.board,
            one.mode,
            amount(one.memory_bytes, "B"),
            amount(one.flops, "FLOP/s"),
            f"{one.training_watts:.1f}",
            "yes" if one.available else "no",
        )
    return table
