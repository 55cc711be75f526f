"""A fleet and gradients that someone wrote down, as `fedquad plan` takes them.

    statuses     [{"device": "tx2-7", "memory_bytes": 3e9, "flops": 3e11}, ...]    or {"devices": [...]}
    gradients    [0.8, 0.9, 1.1, ...], layer 0 first                              or {"gradients": [...]}

A device may also give memory_bandwidth, upload_bandwidth, download_bandwidth (bytes/s), training_watts, idle_watts
and radio_watts; its class and mode are free text.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedquad.errors import SpecError
from fedquad.types import Floats, Statuses

TEXTS = ("class", "mode")
DEFAULTS = {
    "memory_bandwidth": 5e10,
    "upload_bandwidth": np.inf,
    "download_bandwidth": np.inf,
    "training_watts": 0.0,
    "idle_watts": 0.0,
    "radio_watts": 0.0,
}
NEEDED = ("device", "memory_bytes", "flops")


def statuses(data: Any, where: str) -> tuple[tuple[str, ...], Statuses]:
    """The devices' names and their statuses; `where` is the file."""
    rows = data.get("devices") if isinstance(data, Mapping) else data
    if not isinstance(rows, list):
        raise SpecError(f"{where}: statuses are a list of devices, each with {', '.join(NEEDED)}")
    if not rows:
        raise SpecError(f"{where}: the fleet is empty; list at least one device")
    for number, row in enumerate(rows):
        _check(row, f"{where}: device {number}")
    names = tuple(str(row["device"]) for row in rows)
    if len(set(names)) != len(names):
        raise SpecError(f"{where}: device {next(n for n in names if names.count(n) > 1)!r} is there twice")
    kinds = [(str(row.get("class", "-")), str(row.get("mode", "-"))) for row in rows]
    classes, modes = (tuple(dict.fromkeys(column)) for column in zip(*kinds))
    numbers = {
        key: np.array(
            [_number(row.get(key, default), key, f"{where}: device {name}") for name, row in zip(names, rows)]
        )
        for key, default in {"memory_bytes": 0.0, "flops": 0.0, **DEFAULTS}.items()
    }
    memory_bytes = numbers.pop("memory_bytes").astype(np.int64)
    return names, Statuses(
        classes=classes,
        boards=("described",),
        modes=(modes,),
        class_of=np.array([classes.index(one) for one, _ in kinds], dtype=np.int16),
        board_of=np.zeros(len(rows), dtype=np.int16),
        mode_of=np.array([modes.index(one) for _, one in kinds], dtype=np.int16),
        available=np.ones(len(rows), dtype=np.bool_),
        memory_bytes=memory_bytes,
        **numbers,  # type: ignore[arg-type]
    )


def _check(row: Any, where: str) -> None:
    if not isinstance(row, Mapping):
        raise SpecError(f"{where} is {row!r}, but a device is a record with {', '.join(NEEDED)}")
    for key in NEEDED:
        if key not in row:
            raise SpecError(f"{where}: {key} is missing")
    for key in row:
        if key not in (*NEEDED, *TEXTS, *DEFAULTS):
            raise SpecError(f"{where}: there is no {key!r}; there are: {', '.join((*NEEDED, *TEXTS, *DEFAULTS))}")


def _number(value: Any, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise SpecError(f"{where}: {key} is {value!r}, but it is a number")
    if value < 0 or (value == 0 and (key == "flops" or key.endswith("bandwidth"))):
        raise SpecError(f"{where}: {key} is {value!r}, but it is {'not negative' if value < 0 else 'positive'}")
    if value == np.inf and not key.endswith("bandwidth"):
        raise SpecError(f"{where}: {key} is infinite, but it is a finite number")
    return float(value)


def gradients(data: Any, layers: int, where: str) -> Floats:
    """The gradient norm of each layer, layer 0 first."""
    norms = data.get("gradients") if isinstance(data, Mapping) else data
    if not isinstance(norms, list):
        raise SpecError(f"{where}: gradients are a list with a number for each layer")
    if len(norms) != layers:
        raise SpecError(f"{where}: gradients hold {len(norms)} numbers, but the model has {layers} layers")
    return np.array([_number(norm, f"gradients[{layer}]", where) for layer, norm in enumerate(norms)])
