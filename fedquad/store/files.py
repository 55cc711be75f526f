"""Write files so that a reader sees the old one or the new one, never half of one, whenever the process is killed."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fedquad.errors import StoreError

RESERVE_BYTES = 100 * 10**6  # Prefect's database shares the disk, and on a full one its server holds every caller


def write_bytes(path: Path, data: bytes) -> None:
    """Write and flush a neighbour, then rename it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True) if os.access(path.parent, os.W_OK) else None
        raise disk_error(error, path) from error


def disk_error(error: OSError, path: Path) -> StoreError:
    return StoreError(
        f"{path} cannot be written: {error.strerror or error}; make room or set FEDQUAD_HOME to a folder that can be written"
    )


def check_room(path: Path) -> None:
    """Refuse to go on while there is still room to end in good order."""
    free = shutil.disk_usage(path).free
    if free < RESERVE_BYTES:
        raise StoreError(
            f"{path} has {free / 1e6:.0f} MB left on its disk, and {RESERVE_BYTES / 1e6:.0f} are kept in reserve; make room, "
            f"or set FEDQUAD_HOME to a folder on another disk"
        )


def write_json(path: Path, document: Any) -> None:
    write_bytes(path, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON document; a file that is not one is an error that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def append_line(path: Path, document: Any) -> None:
    """Append one JSON line."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(document, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise disk_error(error, path) from error


def read_lines(path: Path) -> list[Any]:
    """Read JSON lines; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    write_bytes(path, save({name: np.ascontiguousarray(array) for name, array in tensors.items()}))


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    try:
        tensors: dict[str, np.ndarray] = load(path.read_bytes())
        return tensors
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
