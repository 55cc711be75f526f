"""Files that a campaign's settings name besides its data: a fleet trace, a profile of constants."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedquad.errors import SpecError
from fedquad.fleets import trace
from fedquad.spec import CostSpec, FleetSpec


def trace_of(fleet: FleetSpec) -> trace.Trace | None:
    """The trace that `fleet.trace` names, or nothing."""
    return trace.parse(read(fleet.trace, "fleet.trace"), fleet.trace) if fleet.trace else None


def profile_of(cost: CostSpec) -> Mapping[str, Any] | None:
    """The profile that `cost.profile` names, or nothing."""
    return read_json(cost.profile, "cost.profile") if cost.profile else None


def read(path: str, key: str) -> str:
    """The text of a file that the setting `key` names."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"{key} names {path!r}, which cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def read_json(path: str, key: str) -> Any:
    """The JSON document in a file that the setting `key` names."""
    try:
        return json.loads(read(path, key))
    except json.JSONDecodeError as error:
        raise SpecError(f"{key}: {path} line {error.lineno} is not JSON: {error.msg}") from None
