"""How work travels to a device and back: JSON for what is said, safetensors for what is weighed. Nothing is ever unpickled.

A job names files and digests; an answer is the update's JSON beside one safetensors file with its delta.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from fedquad.rounds import adapters
from fedquad.types import Adapter, Array32, Report, Update

R = TypeVar("R")


def from_json(record: type[R], data: Mapping[str, Any]) -> R:
    """Build a record from what `dataclasses.asdict` gave as JSON; unknown and missing keys raise."""
    hints = get_type_hints(record)
    unknown = set(data) - {item.name for item in fields(record)}  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"{record.__name__} has no field {sorted(unknown)[0]!r}; the sender runs another version")
    return record(**{key: _value(hints[key], value) for key, value in data.items()})


def _value(hint: Any, value: Any) -> Any:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        inner = [h for h in get_args(hint) if h is not type(None)]
        return None if value is None else _value(inner[0], value)
    if is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    if origin is tuple:
        return tuple(_value(get_args(hint)[0], item) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        key_hint, value_hint = get_args(hint)
        return {int(k) if key_hint is int else k: _value(value_hint, v) for k, v in value.items()}
    return value


def answer(update: Update) -> tuple[dict[str, Any], dict[str, Array32]]:
    """An update as (JSON, tensors); NaN losses travel as null."""
    report = {key: value for key, value in asdict(update.report).items() if key != "ranks"}
    report["loss"] = report["loss"] if np.isfinite(report["loss"]) else None
    document = {
        "device": update.device,
        "round": update.round,
        "based_on": update.based_on,
        "gradient_norms": {str(layer): float(norm) for layer, norm in update.gradient_norms.items()},
        "signals": {name: [float(v) for v in values] for name, values in update.signals.items()},
        "report": report,
        "delta": adapters.digest(update.delta),
    }
    return document, adapters.flatten(update.delta)


def failed(
    device: int, round: int, based_on: str, reason: str, seconds: float = 0.0, *, is_refused: bool = False
) -> Update:
    """The update of a device that has none."""
    return Update(
        device=device,
        round=round,
        based_on=based_on,
        delta=Adapter(layers={}, head={}),
        is_refused=is_refused,
        report=Report(failure=reason, seconds=seconds),
    )
