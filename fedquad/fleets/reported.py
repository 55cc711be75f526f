"""What a real device says of itself, as the server takes it: every field bounded, and a device that says nonsense is not there.

A report travels as JSON (`fedquad/onboard/report.py` makes it). Speed comes as seconds of a training step at one or two depths; what
that is in FLOP/s the server's own prices tell, so that simulated and real devices are planned for in one unit.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedquad.prices.cost import CostModel, step_flops
from fedquad.rounds import unpack
from fedquad.types import Assignment, Statuses

KEYS = frozenset(
    {
        "schema", "name", "pool", "version", "memory_bytes", "mode", "watts", "upload_bandwidth", "download_bandwidth",
        "examples", "labels", "opened", "backbone", "problem", "step_seconds", "loads", "age_seconds", "leaving",
        "exchange", "objective",
    }
)  # fmt: skip
SCHEMA = 2
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
DIGEST = re.compile(r"[0-9a-f]{64}|")
MOST_LABELS = 4096
MOST_DEPTHS = 8
MOST_BYTES = 2**50


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One device's word on itself; what it cannot measure is None."""

    name: str
    pool: str
    version: str
    memory_bytes: int  # free for training
    mode: str
    watts: float | None
    upload_bandwidth: float | None  # bytes/s
    download_bandwidth: float | None
    examples: int
    labels: tuple[str, ...]
    opened: str  # digest of the campaign it has loaded; empty: none
    backbone: str  # digest of the weights it has for that
    problem: str  # why it cannot take part in that
    step_seconds: Mapping[int, float]  # LoRA depth -> seconds of one step
    loads: int  # models loaded since it joined
    age_seconds: float  # of what the trainer noted, when this was sent
    leaving: bool  # its last word: it was ended in good order
    objective: str  # what it has read its labels for
    exchange: str  # where it sends and fetches adapters, as `--exchange` names it


def read(found: object) -> Reported:
    """Check a report; `unpack.Refused` says what is wrong with it."""
    fields = unpack.keys(found, KEYS, "its status")
    unpack.whole(fields["schema"], "the schema of its status", SCHEMA, SCHEMA)
    return Reported(
        name=_matching(NAME, fields["name"], "its name", 63),
        pool=_matching(NAME, fields["pool"], "its pool", 63),
        version=_line(fields["version"], "its version", 40),
        memory_bytes=unpack.whole(fields["memory_bytes"], "its free memory", 0, MOST_BYTES),
        mode=_line(fields["mode"], "its mode", 60),
        watts=_positive(fields["watts"], "its power", 1e5),
        upload_bandwidth=_positive(fields["upload_bandwidth"], "its upload bandwidth", 1e12),
        download_bandwidth=_positive(fields["download_bandwidth"], "its download bandwidth", 1e12),
        examples=unpack.whole(fields["examples"], "its examples", 0, 10**9),
        labels=tuple(_line(one, "a label", 200) for one in unpack.listed(fields["labels"], "its labels", MOST_LABELS)),
        opened=_matching(DIGEST, fields["opened"], "what it has opened", 64),
        backbone=_matching(DIGEST, fields["backbone"], "its backbone", 64),
        problem=_line(fields["problem"], "its problem", 1000),
        step_seconds=_depths(fields["step_seconds"]),
        loads=unpack.whole(fields["loads"], "its loads", 0, 10**9),
        age_seconds=unpack.number(fields["age_seconds"], "its age", 0, 1e8),
        leaving=_flag(fields["leaving"], "whether it leaves"),
        objective=_line(fields["objective"], "its objective", 100),
        exchange=_line(fields["exchange"], "its exchange", 1000),
    )


def _matching(pattern: re.Pattern[str], found: object, what: str, most: int) -> str:
    text = unpack.text(found, what, most)
    if not pattern.fullmatch(text):
        raise unpack.Refused(f"{what} is {unpack.shown(text)}, which has not the form {pattern.pattern}")
    return text


def _line(found: object, what: str, most: int) -> str:
    """One line, nothing in it that a terminal obeys."""
    return "".join(one if one.isprintable() else " " for one in unpack.text(found, what, most))


def _flag(found: object, what: str) -> bool:
    if type(found) is not bool:
        raise unpack.Refused(f"{what} is {unpack.shown(found)}, not true or false")
    return found


def _positive(found: object, what: str, most: float) -> float | None:
    return None if found is None else max(unpack.number(found, what, 0, most), 1e-9)


def _depths(found: object) -> dict[int, float]:
    if type(found) is not dict or len(found) > MOST_DEPTHS:
        raise unpack.Refused(f"its step seconds are {unpack.shown(found)}, not an object of at most {MOST_DEPTHS}")
    depths = {}
    for depth, seconds in found.items():
        if not (type(depth) is str and depth.isascii() and depth.isdigit() and len(depth) <= 4):
            raise unpack.Refused(f"a depth of its step seconds is {unpack.shown(depth)}")
        depths[int(depth)] = max(unpack.number(seconds, "its step seconds", 0, 1e6), 1e-9)
    return depths


def speed(report: Reported, cost: CostModel) -> float | None:
    """FLOP/s in training: what the greatest depth it timed costs, over the seconds that took."""
    timed = {depth: seconds for depth, seconds in report.step_seconds.items() if 1 <= depth <= cost.layers}
    if not timed:
        return None
    depth = max(timed)
    layers = tuple(range(cost.layers))
    asked = Assignment(
        device=0,
        present=layers,
        trained=layers[cost.layers - depth :],
        ranks=(cost.rank,) * cost.layers,
        steps=1,
        learning_rate=1.0,
    )
    return step_flops(asked, cost) / timed[depth]


def as_reported(
    statuses: Statuses, reports: Sequence[Reported | None], cost: CostModel, are_there: Sequence[bool]
) -> Statuses:
    """The drawn statuses with what real devices report in their rows; what one cannot measure stays as drawn for its board."""
    columns: dict[str, Any] = {
        name: np.array(getattr(statuses, name))
        for name in ("available", "memory_bytes", "flops", "upload_bandwidth", "download_bandwidth", "training_watts")
    }
    modes = [list(names) for names in statuses.modes]
    columns["mode_of"] = np.array(statuses.mode_of)
    for device, (report, is_there) in enumerate(zip(reports, are_there, strict=True)):
        columns["available"][device] = is_there
        if report is None:
            continue
        columns["memory_bytes"][device] = report.memory_bytes
        columns["mode_of"][device] = _index(modes[statuses.board_of[device]], report.mode or "as it is")
        for name, value in (
            ("flops", speed(report, cost)),
            ("upload_bandwidth", report.upload_bandwidth),
            ("download_bandwidth", report.download_bandwidth),
            ("training_watts", report.watts),
        ):
            if value is not None:
                columns[name][device] = value
    return replace(statuses, modes=tuple(tuple(names) for names in modes), **columns)


def _index(names: list[str], name: str) -> int:
    """Where a mode is among its board's, which it joins if it is new."""
    if name not in names:
        names.append(name)
    return names.index(name)
