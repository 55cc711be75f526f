"""What a board says of itself, in a terminal."""

from collections.abc import Iterator
from math import isnan

from rich.table import Table
from rich.text import Text

from fedquad.device.board import BoardReading
from fedquad.report.words import NONE, amount

WORDS = {  # for what is missing
    "memory_total_bytes": "memory",
    "memory_free_bytes": "free memory",
    "mode": "power mode",
    "modes": "power modes",
    "cpu_hertz": "CPU clock",
    "cpu_max_hertz": "CPU clock's cap",
    "gpu_hertz": "GPU clock",
    "gpu_max_hertz": "GPU clock's cap",
    "watts": "power",
    "rails": "power rails",
    "celsius": "temperature",
    "throttled": "throttling",
}


def status(reading: BoardReading) -> Table:
    """A line a quantity; what the board does not say is named in the last."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in _lines(reading):
        table.add_row(name, Text(value))
    return table


def _lines(reading: BoardReading) -> Iterator[tuple[str, str]]:
    yield "board", reading.model or NONE
    yield "system", ", ".join(part for part in (reading.release, reading.kernel) if part) or NONE
    yield "memory", f"{_bytes(reading.memory_free_bytes)} for training, of {_bytes(reading.memory_total_bytes)}"
    others = [mode for mode in reading.modes if mode != reading.mode]
    yield "mode", (reading.mode or NONE) + (f" (also {', '.join(others)})" if others else "")
    yield "CPU", _clock(reading.cpu_hertz, reading.cpu_max_hertz)
    yield "GPU", _clock(reading.gpu_hertz, reading.gpu_max_hertz)
    yield "power", _power(reading)
    slowed = {True: ", throttled", False: ", not throttled", None: ""}[reading.throttled]
    yield "temperature", (NONE if isnan(reading.celsius) else f"{reading.celsius:.1f} °C") + slowed
    if reading.missing:
        yield "not found", ", ".join(WORDS.get(name, name) for name in reading.missing)


def _bytes(value: float) -> str:
    return NONE if isnan(value) else amount(value, "B")


def _clock(now: float, most: float) -> str:
    if isnan(now) and isnan(most):
        return NONE
    shown = NONE if isnan(now) else "asleep" if now == 0 else amount(now, "Hz")
    return shown if isnan(most) else f"{shown}, at most {amount(most, 'Hz')}"


def _power(reading: BoardReading) -> str:
    if isnan(reading.watts):
        return NONE
    rails = ", ".join(f"{rail.name} {rail.watts:.1f}" for rail in reading.rails)
    return f"{reading.watts:.1f} W ({rails})"
