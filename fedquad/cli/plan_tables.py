"""A plan in a terminal: devices, rules side by side, one device's candidates. Numbers are rounded here only."""

from collections.abc import Mapping

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fedquad.cli.tables import titled
from fedquad.planning import planning
from fedquad.planning.forecast import Round
from fedquad.planning.planning import RULES, Answer
from fedquad.report.words import NONE, amount, seconds
from fedquad.rounds.acs import FALLBACKS

SHOWN_DEVICES = 100
ROOM_FOR_MODES = 100  # columns of the terminal


def plan(
    planned: Answer, compared: Mapping[str, Round], spreads: Mapping[str, Mapping[str, Round]], width: int
) -> Group:
    """Devices, this round's rules, and the rules at wider spreads."""
    question = planned.question
    title = f"round {question.round}, {question.settings.rule} ACS, t_avg {seconds(planned.mean_seconds)}"
    parts: list[Group | Text] = [
        titled(title, _devices(planned, width)),
        Text(),
        titled("this round", _rules(compared)),
    ]
    for name, rounds in spreads.items():
        parts += [Text(), titled(f"{planning.PLAYED_ROUNDS} rounds at a speed spread of {name}", _rules(rounds))]
    left = len(planned.devices) - SHOWN_DEVICES
    note = [f"{left} more devices; --json has all."] if left > 0 else []
    if np.all(question.gradient_norms == 1):
        note.append("Gradient norms are taken as equal; --gradients takes measured ones, --explain says why.")
    least, most = int(question.steps.min()), int(question.steps.max())
    steps = f"{most} steps" if least == most else f"{least} to {most} steps"
    note.append(
        f"Memory, seconds and bytes are those of {question.cost.name}, batch {question.cost.batch}, sequence "
        f"{question.cost.sequence}; {steps} a round{' on the mean' if question.settings.rule == 'paced' else ''}. Bottom: devices that train the lowest layer."
    )
    return Group(*parts, Text(), *(Text(line, style="dim") for line in note))


def _devices(planned: Answer, width: int) -> Table:
    """One row a device; a narrow terminal does without modes, and nobody needs a column of fallbacks when there is none."""
    question, last = planned.question, float(np.max(planned.choices.seconds, initial=0.0))
    has_modes, has_fallbacks = width >= ROOM_FOR_MODES, bool(np.any(planned.choices.fallback))
    about = ("device", "class", "mode") if has_modes else ("device", "class")
    fallback = ("fallback",) if has_fallbacks else ()
    steps = ("steps",) if question.settings.rule == "paced" else ()  # elsewhere they are all alike, and told below
    table = _table(
        about, ("free", "speed", "d", "a", *steps, "time", "peak", "wait"), fallback, gap=2 if has_modes else 1
    )
    for row in range(min(len(planned.devices), SHOWN_DEVICES)):
        device = int(question.there[row])
        status, estimated = question.statuses[device], planning.estimate_of(planned, row)
        table.add_row(
            question.names[device],
            status.device_class,
            *((status.mode,) if has_modes else ()),
            amount(status.memory_bytes, "B"),
            amount(status.flops, "FLOP/s"),
            str(planned.choices.depth[row]),
            str(planned.choices.quantized[row]),
            *([str(planned.steps[row])] if steps else []),
            seconds(estimated.seconds) if estimated else NONE,
            amount(estimated.peak_bytes, "B") if estimated else NONE,
            seconds(last - estimated.seconds) if estimated else NONE,
            *((FALLBACKS[planned.choices.fallback[row]],) if has_fallbacks else ()),
        )
    return table


def _rules(rounds: Mapping[str, Round]) -> Table:
    table = _table(("rule",), ("round", "mean wait", "mean d", "mean a", "bottom", "fallbacks"))
    for name, one in rounds.items():
        table.add_row(
            RULES[name],
            seconds(one.round_seconds),
            seconds(one.mean_wait_seconds),
            f"{one.mean_depth:.1f}",
            f"{one.mean_quantized:.1f}",
            f"{one.bottom_devices:.1f}",
            f"{one.fallbacks:.1f}",
        )
    return table


def explained(planned: Answer, row: int, width: int) -> Group:
    """Every depth of one device, and what became of it."""
    question = planned.question
    status = question.statuses[int(question.there[row])]
    title = (
        f"device {question.names[status.device]}: {amount(status.memory_bytes, 'B')}, {amount(status.flops, 'FLOP/s')}"
    )
    table = _table((), ("d", "a", "G", "t", "R"), ("outcome",))
    for one in planning.explained(planned, row):
        style = "bold" if one.why.startswith("chosen") else None if one.fits else "dim"
        figures = (f"{one.gain:.4g}", seconds(one.seconds), NONE if one.reward is None else f"{one.reward:.4g}")
        table.add_row(
            str(one.depth),
            str(one.quantized) if one.fits else NONE,
            *(figures if one.fits else (figures[0], NONE, NONE)),
            one.why,
            style=style,
        )
    return titled(title, table)


def _table(left: tuple[str, ...], right: tuple[str, ...], more: tuple[str, ...] = (), gap: int = 2) -> Table:
    table = Table(box=None, padding=(0, gap, 0, 0))
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    for name in more:
        table.add_column(name, overflow="fold")
    return table
