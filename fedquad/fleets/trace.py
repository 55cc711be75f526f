"""A fleet recorded elsewhere: capacities and behaviour of real phones, in FedScale's terms, as JSON or CSV.

    {"round_seconds": 600,
     "devices": [{"computation": 85.2, "communication": 4200, "active": [0, 900], "inactive": [600, 1800],
                  "finish_time": 3600, "memory_bytes": 3e9}]}

    computation,communication,active,inactive,finish_time
    85.2,4200,0;900,600;1800,3600

`computation` is milliseconds to infer one example with the priced model, `communication` kbit/s. A device can be
asked between active[i] and inactive[i] seconds, looped after `finish_time`; without them it always can. Round r
begins at (r - 1) round_seconds. FedScale distributes pickles; they are converted once, elsewhere: nothing here
unpickles.
"""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedquad.errors import SpecError
from fedquad.fleets import replay
from fedquad.fleets.replay import Replay
from fedquad.types import Bools, Floats, Ints

ROUND_SECONDS = 600.0
KEYS = ("computation", "communication", "active", "inactive", "finish_time", "memory_bytes")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """Arrays of one row a recorded device."""

    milliseconds: Floats  # per example
    bandwidth: Floats  # bytes/s
    memory_bytes: Ints  # 0 where it was not recorded
    windows: tuple[tuple[tuple[float, float], ...], ...]  # seconds in which a device can be asked; empty: always
    finish_seconds: Floats
    round_seconds: float

    def __len__(self) -> int:
        return len(self.milliseconds)

    def is_available(self, round: int) -> Bools:
        """Whether each recorded device can be asked when round `round` begins."""
        start = (round - 1) * self.round_seconds
        now = [start % finish if finish else start for finish in self.finish_seconds]
        return np.array(
            [not windows or any(a <= t < b for a, b in windows) for windows, t in zip(self.windows, now)],
            dtype=np.bool_,
        )


def parse(text: str, where: str) -> Trace | Replay:
    """Read a trace, or the record of a real run; `where` is its file, whose ending tells JSON from CSV."""
    if where.endswith(".json") and isinstance(document := _document(text, where), dict) and "replay" in document:
        return replay.parse(document, where)
    rows, round_seconds = _json(text, where) if where.endswith(".json") else (_csv(text, where), ROUND_SECONDS)
    if not rows:
        raise SpecError(f"{where}: the trace holds no devices")
    devices = [_device(row, f"{where}: device {number}") for number, row in enumerate(rows)]
    return Trace(
        milliseconds=np.array([device[0] for device in devices]),
        bandwidth=np.array([device[1] for device in devices]) * 1e3 / 8,
        memory_bytes=np.array([device[2] for device in devices], dtype=np.int64),
        windows=tuple(device[3] for device in devices),
        finish_seconds=np.array([device[4] for device in devices]),
        round_seconds=round_seconds,
    )


def _json(text: str, where: str) -> tuple[list[Mapping[str, Any]], float]:
    data = _document(text, where)
    if not isinstance(data, dict) or not isinstance(data.get("devices"), list | dict):
        raise SpecError(f"{where}: a trace is a mapping with `devices`, a list or mapping of records")
    devices = data["devices"]
    seconds = _number(data.get("round_seconds", ROUND_SECONDS), "round_seconds", where)
    return list(devices.values() if isinstance(devices, dict) else devices), seconds


def _document(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"{where} line {error.lineno} is not JSON: {error.msg}") from None


def _csv(text: str, where: str) -> list[Mapping[str, Any]]:
    reader = csv.DictReader(io.StringIO(text))
    unknown = set(reader.fieldnames or ()) - set(KEYS)
    if unknown:
        raise SpecError(f"{where}: there is no column {sorted(unknown)[0]!r} in a trace; there are: {', '.join(KEYS)}")
    return [{key: value for key, value in row.items() if value} for row in reader]


def _device(row: Any, where: str) -> tuple[float, float, int, tuple[tuple[float, float], ...], float]:
    if not isinstance(row, Mapping):
        raise SpecError(f"{where} is {row!r}, but a device is a record with computation and communication")
    for key in row:
        if key not in KEYS:
            raise SpecError(f"{where}: there is no {key!r} in a trace; there are: {', '.join(KEYS)}")
    for key in ("computation", "communication"):
        if key not in row:
            raise SpecError(f"{where}: {key} is missing")
    begins, ends = _times(row.get("active", ()), "active", where), _times(row.get("inactive", ()), "inactive", where)
    if len(begins) != len(ends):
        raise SpecError(f"{where}: active has {len(begins)} times and inactive {len(ends)}, but they come in pairs")
    return (
        _number(row["computation"], "computation", where),
        _number(row["communication"], "communication", where),
        int(_number(row["memory_bytes"], "memory_bytes", where)) if "memory_bytes" in row else 0,
        tuple(zip(begins, ends)),
        _number(row["finish_time"], "finish_time", where) if "finish_time" in row else 0.0,
    )


def _times(value: Any, key: str, where: str) -> list[float]:
    parts = value.split(";") if isinstance(value, str) else list(value)
    return [_number(part, key, where, least=0.0) for part in parts]


def _number(value: Any, key: str, where: str, least: float | None = None) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SpecError(f"{where}: {key} is {value!r}, but it is a number") from None
    if not np.isfinite(number) or (number <= 0 if least is None else number < least):
        raise SpecError(f"{where}: {key} is {value!r}, but it is {'positive' if least is None else 'not negative'}")
    return number
