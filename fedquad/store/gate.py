"""The gate: nothing else reads what a device left. Whatever goes wrong in it is that device's failure, in one line.

file      a regular file, no link followed, no larger than its assignment allows (store/files.py)
answer    strict JSON, every field in its range                                  (rounds/admit.py)
tensors   names, shapes and types exactly as assigned, their digest, finite      (rounds/admit.py)
norm      beside the others', once all are known                                 (rounds/ledger.py)
"""

from collections.abc import Iterator
from pathlib import Path

from fedquad import wire
from fedquad.rounds.admit import Asked, read_answer, with_delta
from fedquad.store import files
from fedquad.types import Update

KEPT_BYTES = 2**25  # of updates that stay in memory between two readings: all of a small fleet's


class Answers:
    """What came back for some assignments, in their order. Can be read again: the first few from memory, the others from their files."""

    def __init__(self, folder: Path, asked: tuple[Asked, ...], kind: str) -> None:
        self.folder = folder
        self.asked = asked
        self.kind = kind
        self._kept: list[Update] = []
        self._room = KEPT_BYTES

    def __iter__(self) -> Iterator[Update]:
        yield from self._kept
        for number in range(len(self._kept), len(self.asked)):
            one = self.asked[number]
            update, size = let_in(self.folder / f"{self.kind}-{one.assignment.device:04d}", one), one.tensor_bytes()
            if number == len(self._kept) and size <= self._room:
                self._kept.append(update)
                self._room -= size
            yield update


def let_in(stem: Path, asked: Asked) -> Update:
    """A device's update, or the failure that stands for it."""
    try:
        answer = files.read_bytes(stem.with_suffix(".json"), asked.answer_bytes())
        said = read_answer(answer, asked)
        if said.report.failure or asked.probe:
            return said
        return with_delta(said, files.read_bytes(stem.with_suffix(".safetensors"), asked.tensor_bytes()), asked)
    except Exception as error:  # of whatever class: it is about this device alone
        assignment = asked.assignment
        reason = shown_line(str(error)) or type(error).__name__
        waited = asked.waited if asked.waited < 1e8 else 0.0
        return wire.failed(assignment.device, asked.round, asked.sent, reason, waited, is_refused=True)


def shown_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:300]
