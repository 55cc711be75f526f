"""Hand out what an arm has learned: adapter/ of its last round, best/ of its best, as PEFT folders that say which state they hold."""

from fedquad.learn import peft_folder
from fedquad.store import exports, files
from fedquad.types import ServerState
from tasks.progress import announce
from tasks.session import Arm


def export(arm: Arm) -> None:
    """After a commit: the last round's, and again under best/ when no round was better."""
    progress = arm.folder.progress
    for name in ("adapter", "best") if progress.best_round == progress.last_round else ("adapter",):
        _write(arm, name, arm.state, progress.last_digest)


def renew(arm: Arm) -> None:
    """Make again what is not of the committed states: a kill may have come between a commit and its export."""
    progress = arm.folder.progress
    for name, number in exports.stale(arm.folder.path, progress):
        if number in arm.folder.kept:
            _write(
                arm, name, arm.folder.state(number), progress.last_digest if name == "adapter" else progress.best_digest
            )
        else:
            announce(
                "notice",
                message=f"{arm.name}: {name}/ was of another round than {number}, whose state is not kept; it is gone",
            )
            files.remove(arm.folder.path / name)


def _write(arm: Arm, name: str, state: ServerState, digest: str) -> None:
    spec, folder = arm.spec.model, arm.folder.path / name
    peft_folder.write(folder, arm.strategy.view(state, arm.world), arm.layout, spec, spec.name)
    exports.stamp(folder, digest)
