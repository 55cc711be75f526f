"""Go back to a round of an arm: what came after it is set aside, in a folder of the arm's own, and tracking begins another run."""

import os
from datetime import datetime
from pathlib import Path

from fedquad.errors import StoreError
from fedquad.store import files, manifest
from fedquad.store.arm import ArmFolder


def refuse(arm: ArmFolder, number: int) -> None:
    """Refuse to go back to a round that is not kept, or not sound."""
    arm.refuse_old(arm.description())
    kept = manifest.numbers(arm.state_path, "safetensors")
    if number not in kept:
        raise StoreError(
            f"arm {arm.name} has no state of round {number} to go back to; it keeps those of {', '.join(map(str, kept)) or 'none'}"
        )
    for document in arm.manifests(until=number):
        if document["round"] == number:
            manifest.tensors_of(arm.state_path, document)


def rewind(arm: ArmFolder, number: int) -> Path:
    """Set the rounds after this one aside, the last first and each for good, so that a kill leaves a whole history."""
    aside = arm.path / f"aside-{datetime.now():%Y%m%d-%H%M%S-%f}"
    later = [n for n in reversed(manifest.numbers(arm.state_path)) if n > number]
    states = [manifest.path_of(arm.state_path, n, kind) for n in later for kind in ("json", "safetensors")]
    _supersede(arm)
    try:
        files.make_folder(aside)
        for path in (arm.lines_path, arm.path / "adapter", arm.path / "best", *states):
            if os.path.lexists(path):
                os.rename(path, aside / path.name)
                files.flush(aside)
                files.flush(path.parent)
    except OSError as error:
        raise files.disk_error(error, aside) from error
    arm.open()
    return aside


def _supersede(arm: ArmFolder) -> None:
    """Have tracking begin a new run, which names the old one; before anything moves, so that no round is taken for sent."""
    cursor = arm.tracking()
    if cursor:
        old = [*cursor["supersedes"], *filter(None, [cursor["run_id"]])]
        fresh = {"run_id": "", "key": "", "sent_rounds": 0, "status": "RUNNING", "best_score": 0.0}
        files.write_sealed(arm.path / "tracking.json", {**cursor, **fresh, "supersedes": old})
