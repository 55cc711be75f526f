"""What is handed out of an arm: adapter/ of the last round, best/ of the best, each beside a note of the state it comes from.

The note, fedquad.json, is written last and names every file by digest: a folder without it, or of another state, is made again.
"""

import hashlib
from pathlib import Path

from fedquad.errors import StoreError
from fedquad.store import files, manifest
from fedquad.store.progress import Progress

NOTE = "fedquad.json"
SHAPE = {"schema": int, "state_digest": str, "files": {str: str}}


def stamp(folder: Path, state_digest: str) -> None:
    """Note which state the folder holds, once what it holds is on the disk, and its name too."""
    try:
        for path in (*(folder / name for name in files.names(folder)), folder.parent):
            files.flush(path)
    except OSError as error:
        raise files.disk_error(error, folder) from error
    files.write_sealed(folder / NOTE, {"schema": 1, "state_digest": state_digest, "files": _digests(folder)}, indent=1)


def is_of(folder: Path, state_digest: str) -> bool:
    """Whether the folder is whole and of this state."""
    try:
        note = files.read_sealed(folder / NOTE, SHAPE)
        return bool(note["state_digest"] == state_digest and note["files"] == _digests(folder))
    except StoreError:
        return False


def _digests(folder: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256(files.read_bytes(folder / name, files.TENSOR_BYTES)).hexdigest()
        for name in files.names(folder)
        if name != NOTE
    }


def stale(arm: Path, progress: Progress) -> list[tuple[str, int]]:
    """The folders that are not of their rounds, with those rounds; one whose state is not kept cannot be made, only be wrong."""
    wanted = (
        ("adapter", progress.last_round, progress.last_digest),
        ("best", progress.best_round, progress.best_digest),
    )
    kept = manifest.numbers(arm / "state", "safetensors")
    return [
        (name, number)
        for name, number, digest in wanted
        if number and not is_of(arm / name, digest) and (number in kept or (arm / name).exists())
    ]
