"""Files that a campaign is computed from besides its data: a fleet trace, a profile of constants, methods of the user's, shards."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedquad import discover
from fedquad.errors import SpecError, StoreError, quoted
from fedquad.fleets import trace
from fedquad.fleets.replay import Replay
from fedquad.rounds import adapters
from fedquad.spec import CostSpec, FleetSpec
from fedquad.store import files


def trace_of(fleet: FleetSpec) -> trace.Trace | Replay | None:
    """The trace that `fleet.trace` names, or nothing."""
    return trace.parse(read(fleet.trace, "fleet.trace"), fleet.trace) if fleet.trace else None


def profile_of(cost: CostSpec) -> Mapping[str, Any] | None:
    """The profile that `cost.profile` names, or nothing."""
    return read_json(cost.profile, "cost.profile") if cost.profile else None


def method_digest(method: str) -> dict[str, str]:
    """The digest of a method's source, where that is not the package's own."""
    source = discover.source(method)
    return {"method source": hashlib.sha256(files.read_bytes(source.resolve())).hexdigest()} if source else {}


def keep(path: Path, tensors: Mapping[str, np.ndarray], digest: str) -> None:
    """Have these tensors in the file that is named by their digest: written if it does not hold them, or not any more."""
    try:
        if adapters.tensors_digest(files.read_tensors(path)) == digest:
            return
    except StoreError:
        pass
    files.write_tensors(path, tensors)


def read(path: str, key: str) -> str:
    """The text of a file that the setting `key` names."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SpecError(
            f"{key} names {quoted(path)}, which cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def read_json(path: str, key: str) -> Any:
    """The JSON document in a file that the setting `key` names."""
    try:
        return json.loads(read(path, key))
    except json.JSONDecodeError as error:
        raise SpecError(f"{key}: {path} line {error.lineno} is not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, thousands of brackets
        raise SpecError(f"{key}: {path} holds a value that is none: {error}") from None
