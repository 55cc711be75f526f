"""The gate: nothing else reads what a device left. Whatever goes wrong in it is that device's failure, in one line.

file      a regular file, no link followed, no larger than its assignment allows (store/files.py)
answer    strict JSON, every field in its range                                  (rounds/admit.py)
tensors   names, shapes and types exactly as assigned, their digest, finite      (rounds/admit.py)
norm      beside the others', once all are known                                 (rounds/ledger.py)
"""

from collections.abc import Iterator
from pathlib import Path

from fedquad import wire
from fedquad.rounds.admit import Asked, admitted, read_answer
from fedquad.store import files
from fedquad.types import Update


class Answers:
    """What came back for some assignments, in their order, one update in memory at a time; can be read again."""

    def __init__(self, folder: Path, asked: tuple[Asked, ...], kind: str) -> None:
        self.folder = folder
        self.asked = asked
        self.kind = kind

    def __iter__(self) -> Iterator[Update]:
        return (let_in(self.folder / f"{self.kind}-{one.assignment.device:04d}", one) for one in self.asked)


def let_in(stem: Path, asked: Asked) -> Update:
    """A device's update, or the failure that stands for it."""
    try:
        answer = files.read_bytes(stem.with_suffix(".json"), asked.answer_bytes())
        said = read_answer(answer, asked)
        if said.report.failure or asked.probe:
            return said
        return admitted(answer, files.read_bytes(stem.with_suffix(".safetensors"), asked.tensor_bytes()), asked)
    except Exception as error:  # of whatever class: it is about this device alone
        assignment = asked.assignment
        reason = shown_line(str(error)) or type(error).__name__
        waited = asked.waited if asked.waited < 1e8 else 0.0
        return wire.failed(assignment.device, asked.round, asked.sent, reason, waited, is_refused=True)


def shown_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:300]
