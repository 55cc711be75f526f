"""Whether what a device sent is an answer to what it was asked: bytes in, an update or `Refused` out.

Nothing is parsed before it is bounded, nothing is taken that was not asked for, and of each field only what it may hold. The norm,
which needs the other updates too, comes after (bounds.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedquad.rounds import adapters, unpack
from fedquad.rounds.refuse import refusal
from fedquad.rounds.unpack import Refused
from fedquad.types import Adapter, Assignment, Floats, Report, Update

ANSWER = frozenset({"device", "round", "based_on", "gradient_norms", "signals", "report", "delta"})
NEWER = {"tokens": 0, "hits": 0, "misses": 0}  # what reports of kept rounds and older workers do not say
REPORT = frozenset({"examples", "tokens", "seconds", "peak_bytes", "loss", "lora_norm", "hits", "misses", "failure"})
SIGNALS = 16
NAME_BYTES = 200  # of a tensor, a signal or a digest
REASON = 2000  # characters of a failure
MOST = 1e30  # of a norm, a loss, a signal
MOST_SECONDS = 1e8
NOTHING = Adapter(layers={}, head={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a device was asked, and what its answer must fit."""

    assignment: Assignment
    round: int
    sent: str  # digest of what it started from
    like: Adapter  # the global adapter: shapes alone are looked at
    waited: float = MOST_SECONDS  # seconds from asking to the answer by the server's own clock, if it has one

    @property
    def probe(self) -> bool:
        return not self.assignment.steps

    def answer_bytes(self) -> int:
        """More than any right answer has."""
        return 2**14 + 64 * len(self.like.layers) * (SIGNALS + 2)

    def tensor_bytes(self) -> int:
        """More than any right delta has: its numbers, and a header's entry for each tensor."""
        size = sum(array.nbytes + NAME_BYTES + unpack.HEADER_BYTES for array in self._tensors())
        return size + 2**10

    def tensors(self) -> int:
        return len(self._tensors())

    def _tensors(self) -> list[np.ndarray]:
        pairs = [pair for layer in self.assignment.trained for pair in self.like.layers[layer].values()]
        return [*(array for pair in pairs for array in (pair.a, pair.b)), *self.like.head.values()]


def admitted(answer: bytes, tensors: bytes | None, asked: Asked) -> Update:
    """The update, checked in all that can be seen in it alone; one that reports a failure comes back as that."""
    found = read_answer(answer, asked)
    return found if found.report.failure or asked.probe else with_delta(found, tensors, asked)


def with_delta(found: Update, tensors: bytes | None, asked: Asked) -> Update:
    """An answer with what it sent beside it."""
    if tensors is None:
        raise Refused("it sent no tensors")
    if len(tensors) > asked.tensor_bytes():
        raise Refused(f"its tensors have {len(tensors)} bytes, more than {asked.tensor_bytes()}")
    arrays = unpack.tensors(tensors, asked.tensors())
    if (digest := adapters.tensors_digest(arrays)) != found.digest:
        raise Refused(f"its tensors have digest {digest[:12]}, but it reported {unpack.shown(found.digest[:12])}")
    try:
        delta = adapters.unflatten(arrays)
    except ValueError as error:
        raise Refused(unpack.shown(str(error))) from None
    update = Update(
        device=found.device,
        round=found.round,
        based_on=found.based_on,
        delta=delta,
        gradient_norms=found.gradient_norms,
        digest=found.digest,
        report=found.report,
    )
    if reason := refusal(update, asked.assignment, asked.round, asked.sent, asked.like):
        raise Refused(reason)
    return update


def read_answer(answer: bytes, asked: Asked) -> Update:
    """The answer without its tensors."""
    if len(answer) > asked.answer_bytes():
        raise Refused(f"its answer has {len(answer)} bytes, more than {asked.answer_bytes()}")
    fields = unpack.keys(unpack.strict_json(answer, "its answer", most_brackets=8 + SIGNALS), ANSWER, "its answer")
    return Update(
        device=unpack.whole(fields["device"], "its device", asked.assignment.device, asked.assignment.device),
        round=unpack.whole(fields["round"], "its round", asked.round, asked.round),
        based_on=_based_on(fields["based_on"], asked.sent),
        delta=NOTHING,
        gradient_norms=_norms(fields["gradient_norms"], asked),
        signals=_signals(fields["signals"], asked),
        digest=unpack.text(fields["delta"], "the digest of its delta", NAME_BYTES),
        report=_report(fields["report"], asked),
    )


def _based_on(found: object, sent: str) -> str:
    digest = unpack.text(found, "what it is based on", NAME_BYTES)
    if digest != sent:
        raise Refused(f"it is based on adapter {unpack.shown(digest[:12])}, but {sent[:12]!r} was sent")
    return digest


def _report(found: object, asked: Asked) -> Report:
    fields = unpack.keys(NEWER | found if type(found) is dict else found, REPORT, "its report")
    seconds = unpack.number(fields["seconds"], "its seconds", 0, MOST_SECONDS)
    if seconds > 1.1 * asked.waited + 1:
        raise Refused(f"it reports {seconds:.6g} s, but {asked.waited:.6g} s had passed by the server's clock")
    loss = fields["loss"]
    return Report(
        examples=unpack.whole(fields["examples"], "its examples", 0, 10**9),
        tokens=unpack.whole(fields["tokens"], "its tokens", 0, 10**12),
        seconds=seconds,
        peak_bytes=unpack.whole(fields["peak_bytes"], "its peak bytes", 0, 2**50),
        loss=math.nan if loss is None else unpack.number(loss, "its loss", -MOST, MOST),
        hits=unpack.whole(fields["hits"], "its prefix's hits", 0, 10**12),
        misses=unpack.whole(fields["misses"], "its prefix's misses", 0, 10**12),
        lora_norm=unpack.number(fields["lora_norm"], "its LoRA norm", 0, MOST),
        failure=_line(unpack.text(fields["failure"], "its failure", REASON)),
    )


def _line(text: str) -> str:
    """One line, nothing in it that a terminal obeys."""
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _norms(found: object, asked: Asked) -> Mapping[int, float]:
    fields = _object(found, "its gradient norms")
    trained = {str(layer): layer for layer in asked.assignment.trained}
    if not fields.keys() <= trained.keys():
        extra = unpack.shown(sorted(fields.keys() - trained.keys()))
        raise Refused(f"it has gradient norms of layers that it was not to train: {extra}")
    return {
        trained[key]: unpack.number(value, f"its gradient norm of layer {key}", 0, MOST)
        for key, value in fields.items()
    }


def _signals(found: object, asked: Asked) -> Mapping[str, Floats]:
    fields = _object(found, "its signals")
    if fields and not asked.probe:
        raise Refused("it sends signals, which only a probe was asked for")
    if len(fields) > SIGNALS:
        raise Refused(f"it sends {len(fields)} signals, more than {SIGNALS}")
    return {
        unpack.text(name, "a signal's name", NAME_BYTES): _values(name, values, asked)
        for name, values in fields.items()
    }


def _values(name: str, found: object, asked: Asked) -> Floats:
    values = unpack.listed(found, f"signal {unpack.shown(name)}", len(asked.like.layers))
    if len(values) != len(asked.like.layers):
        raise Refused(f"signal {unpack.shown(name)} has {len(values)} numbers, not {len(asked.like.layers)}")
    return np.array([unpack.number(value, f"signal {unpack.shown(name)}", -MOST, MOST) for value in values])


def _object(found: object, what: str) -> Mapping[str, Any]:
    if type(found) is not dict:
        raise Refused(f"{what} are {unpack.shown(found)}, not an object")
    return found
