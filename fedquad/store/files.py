"""Write files so that a reader sees the old one or the new one, never half of one, whenever the process is killed; read them
bounded and typed, so that whatever lies on the disk is an answer or a StoreError of one line.

A sealed document carries the digest of its own content: {"a": 1, "digest": sha256 of the canonical JSON of {"a": 1}}.
"""

import hashlib
import json
import math
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fedquad.errors import StoreError
from fedquad.store.shape import typed

RESERVE_BYTES = 100 * 10**6  # Prefect's database shares the disk, and on a full one its server holds every caller
JSON_BYTES = 2**28  # of one document; a round of 100,000 devices takes 2**19
TENSOR_BYTES = 2**35
SEAL = "digest"


def temporary_of(path: Path) -> Path:
    """Where this process writes before it renames."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def write_bytes(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write and flush a neighbour, rename it into place, and make the rename last; `mode` is less the umask."""
    temporary = temporary_of(path)
    try:
        make_folder(path.parent)
        temporary.unlink(missing_ok=True)  # of a killed process whose number we have; or a link laid for us
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temporary, flags, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush(path.parent)
    except (OSError, ValueError) as error:  # ValueError: a name with NUL in it
        _discard(temporary)
        raise disk_error(error, path) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and make their names last: a flush of what lies in a folder does not keep its own name."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        flush(folder.parent)


def flush(path: Path) -> None:
    """Have the content of a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except (OSError, ValueError):
        return  # why it cannot be removed is why it could not be written, which is about to be said


def remove(path: Path) -> None:
    """Remove whatever lies there, without following a link."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(error, path) from error


def disk_error(error: Exception, path: Path) -> StoreError:
    return StoreError(
        f"{path} cannot be written: {getattr(error, 'strerror', None) or error}; make room or set FEDQUAD_HOME to a folder "
        f"that can be written"
    )


def check_room(path: Path) -> None:
    """Refuse to go on while there is still room to end in good order."""
    free = shutil.disk_usage(path).free
    if free < RESERVE_BYTES:
        raise StoreError(
            f"{path} has {free / 1e6:.0f} MB left on its disk, and {RESERVE_BYTES / 1e6:.0f} are kept in reserve; make room, "
            f"or set FEDQUAD_HOME to a folder on another disk"
        )


def read_bytes(path: Path, most: int = JSON_BYTES) -> bytes:
    """The content of a regular file of a bounded size; links are not followed, and nothing is waited for."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise StoreError(f"{path} cannot be read: it is no plain file")
            if about.st_size > most:
                raise StoreError(f"{path} cannot be read: it has {about.st_size} bytes, and at most {most} are taken")
            with open(handle, "rb", closefd=False) as file:
                return file.read(about.st_size)  # no more than that, though it may have grown since
        finally:
            os.close(handle)
    except (OSError, ValueError, MemoryError) as error:
        raise StoreError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error or 'no memory'}"
        ) from error


def write_json(path: Path, document: Any, mode: int = 0o666) -> None:
    write_bytes(path, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode(), mode)


def read_json(path: Path) -> Any:
    """Read a JSON document; a file that is not one is an error that names it."""
    return parse_json(read_bytes(path), path)


def parse_json(data: bytes, where: object) -> Any:
    """JSON as the standard has it: numbers are finite; depth is what Python's stack bears."""
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_not_finite, parse_float=_finite)
    except (ValueError, RecursionError, MemoryError) as error:
        why = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise StoreError(f"{where} cannot be read: {why}") from None


def _not_finite(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_finite(text)


def digest_of(document: Any) -> str:
    """SHA-256 of a document's canonical JSON: keys in order, no spaces."""
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"a document cannot be digested: {error}") from None
    return hashlib.sha256(text.encode()).hexdigest()


def write_sealed(path: Path, document: Mapping[str, Any], indent: int | None = None) -> dict[str, Any]:
    """Write a document with its digest; returns it as it will be read."""
    content = {key: value for key, value in document.items() if key != SEAL}
    plain: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))
    sealed = {**plain, SEAL: digest_of(plain)}
    write_bytes(path, (json.dumps(sealed, indent=indent) + "\n").encode())
    return sealed


def read_sealed(path: Path, shape: Any) -> dict[str, Any]:
    """Read a sealed document, or say that it is not what was written."""
    return sealed(read_json(path), shape, path)


def sealed(document: Any, shape: Any, where: object) -> dict[str, Any]:
    """The document, if it has its seal and its shape."""
    typed(document, {SEAL: str}, where)
    found = digest_of({key: value for key, value in document.items() if key != SEAL})
    if found != document[SEAL]:
        raise StoreError(f"{where} was changed: its content has digest {found[:12]}, but it says {document[SEAL][:12]}")
    return typed(document, shape, where)  # type: ignore[no-any-return]


def append_line(path: Path, document: Any) -> None:
    """Append one JSON line."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(os.open(path, flags, 0o666), "ab") as file:
            file.write(line(document))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise disk_error(error, path) from error


def line(document: Any) -> bytes:
    return (json.dumps(document, allow_nan=False) + "\n").encode()


def read_lines(path: Path) -> list[Any]:
    """Read JSON lines; a last line that a kill cut short is left out."""
    if not os.path.lexists(path):
        return []
    return [parse_json(one, f"{path} line {at}") for at, one in enumerate(read_bytes(path).split(b"\n")[:-1], 1) if one]


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    write_bytes(path, save({name: np.ascontiguousarray(array) for name, array in tensors.items()}))


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    data = read_bytes(path, TENSOR_BYTES)
    try:
        tensors: dict[str, np.ndarray] = load(data)
        return tensors
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise StoreError(f"{path} cannot be read: {error or 'no memory'}") from error


def names(folder: Path) -> list[str]:
    """What lies in a folder, sorted; nothing if there is no such folder."""
    try:
        if stat.S_ISLNK(os.lstat(folder).st_mode):
            raise StoreError(f"{folder} is a link, and a folder is needed")
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder} cannot be read: {getattr(error, 'strerror', None) or error}") from error
