"""An arm on disk: its rounds, the states it can resume from, its adapter.

    arms/LABEL-sSEED/
      arm.json                     what it is and was computed from: method, params, seed, digests of every input
      state/round-0007.json        a round's manifest: facts, numbers, digests; every round's, for ever
      state/round-0007.safetensors tensors: the last two, the best, every N
      rounds.jsonl                 the facts, a line a round; derived
      adapter/, best/              PEFT folders: the last round's, the best round's by validation; derived

A round is committed by the rename of its manifest, which names the one before it by digest; the first names what arm.json says.
Everything else is derived, and caught up when the arm is opened.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedquad.errors import StoreError
from fedquad.objective import Metric, metric_of
from fedquad.store import files, manifest
from fedquad.store.manifest import SCHEMA
from fedquad.store.progress import Progress
from fedquad.store.shape import typed
from fedquad.types import ServerState

IDENTITY = (
    "schema",
    "label",
    "method",
    "params",
    "seed",
    "inputs",
    "digests",
)  # causes first: what differs is told by its first
OLD_SHAPE = {"digests": {str: str}, "environment": dict, "failure": str}
SHAPE = {**OLD_SHAPE, "schema": int, "label": str, "method": str, "params": dict, "seed": int, "inputs": {str: str}}
START_SHAPE = {"score": float, "loss": (float, None)}
METRIC_SHAPE = {"name": str, "direction": str, "is_share": bool}
LATER = ("prices",)  # digests that older arms were begun without; those go on without
TRACKING_SHAPE = {"uri": str, "key": str, "start_ms": int, "run_id": str, "sent_rounds": int, "status": str,
                  "supersedes": [str]}  # fmt: skip
NUMBERED_LINE = re.compile(rb'(?m)^\{"round": (\d{1,9}),')


@dataclass(frozen=True, slots=True)
class ArmFolder:
    """The folder of one arm."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def state_path(self) -> Path:
        return self.path / "state"

    @property
    def spool_path(self) -> Path:
        """Updates of the round in progress; worth nothing afterwards."""
        return self.path / "spool"

    @property
    def lines_path(self) -> Path:
        return self.path / "rounds.jsonl"

    def description(self) -> dict[str, Any]:
        """arm.json, or nothing before the arm has begun; one of the first schema has neither number nor seal."""
        path = self.path / "arm.json"
        if not os.path.lexists(path):
            if manifest.numbers(self.state_path):
                raise StoreError(f"{path} is gone, and it says what the arm's rounds were computed from; put it back")
            return {}
        document = typed(files.read_json(path), {}, path)
        if not {"schema", files.SEAL} & set(document):
            return {**typed(document, OLD_SHAPE, path), "schema": 1}
        document = files.sealed(document, SHAPE, path)
        if "start" in document:
            typed(document["start"], START_SHAPE, path)
        if "metric" in document:
            typed(
                {key: document[key] for key in ("metric", "metrics")}, {"metric": METRIC_SHAPE, "metrics": [str]}, path
            )
        if document["schema"] != SCHEMA:
            raise StoreError(
                f"{path} is of schema {document['schema']}, and this version reads {SCHEMA}; use the version that wrote it"
            )
        return document

    def metric(self) -> Metric:
        """What it is judged by."""
        return metric_of(self.description())

    def describe(self, document: Mapping[str, Any]) -> None:
        files.write_sealed(self.path / "arm.json", document, indent=1)

    def begin(self, about: Mapping[str, Any]) -> "OpenArm":
        """Begin the arm, or open it where it stands if it is computed from the same; else say what differs."""
        document = json.loads(json.dumps({"environment": {}, **about, "schema": SCHEMA, "failure": ""}))
        if known := self.description():
            self.refuse_old(known)
            for name in set(LATER) & set(document["digests"]) - set(known["digests"]):
                del document["digests"][name]
            self._refuse_others(known, document)
            document |= {key: known[key] for key in ("environment", "start") if key in known}
        self.describe(document)
        return self.open()

    def refuse_old(self, known: Mapping[str, Any]) -> None:
        if known.get("schema", SCHEMA) != SCHEMA:
            raise StoreError(
                f"arm {self.name} was begun under schema {known['schema']}, and this version goes on with schema {SCHEMA} only; "
                f"finish it with the version that began it, or begin anew with --fresh"
            )

    def _refuse_others(self, known: Mapping[str, Any], present: Mapping[str, Any]) -> None:
        was, now = (_flat({key: document[key] for key in IDENTITY}) for document in (known, present))
        for key in {**was, **now}:
            if was.get(key) != now.get(key):
                raise StoreError(
                    f"arm {self.name} was begun with another {key}: it was {_short(was.get(key))} and is {_short(now.get(key))}; "
                    f"put back what it was begun with, or begin anew with --fresh"
                )

    def open(self) -> "OpenArm":
        """The arm at work: its history read once, what is derived from it caught up."""
        return OpenArm(self)

    def manifests(self, until: int | None = None) -> Iterator[dict[str, Any]]:
        """Every committed round's manifest in order, each checked to follow the one before."""
        before = identity(self.description())
        there = manifest.numbers(self.state_path)
        for number in range(1, min(there[-1], until or there[-1]) + 1 if there else 1):
            if number not in there[number - 1 : number]:
                path = manifest.path_of(self.state_path, number)
                raise StoreError(f"{path} is gone, though round {there[-1]} is there; put it back, or use --fresh")
            document = manifest.read(self.state_path, number, before)
            before = document[files.SEAL]
            yield document

    def rounds(self) -> list[dict[str, Any]]:
        """The facts of every committed round."""
        if not self.is_current():
            return self._old_rounds()
        return [document["facts"] for document in self.manifests()]

    def _old_rounds(self) -> list[dict[str, Any]]:
        """What the first schema kept of its history: lines."""
        known = (manifest.upgraded(facts) for facts in files.read_lines(self.lines_path))
        lines = [typed(facts, manifest.FACTS, self.lines_path) for facts in known]
        if [facts["round"] for facts in lines] != list(range(1, len(lines) + 1)):
            raise StoreError(f"{self.lines_path} does not hold each of its rounds once and in order")
        return lines

    def has_round(self, number: int) -> bool:
        return os.path.lexists(manifest.path_of(self.state_path, number))

    def facts(self, number: int) -> dict[str, Any]:
        """The facts of one committed round."""
        return manifest.read(self.state_path, number)["facts"]  # type: ignore[no-any-return]

    def progress(self) -> Progress:
        """How far the arm is, read from its whole history."""
        found = Progress(metric=self.metric())
        for facts in self.rounds():
            found.add(facts)
        return found

    def refuse_lost(self, last: int) -> None:
        """A line is written after its manifest: one more line than manifests means that the last were lost."""
        told = max((int(number) for number in NUMBERED_LINE.findall(self._tail())), default=0)
        if told > last:
            path = manifest.path_of(self.state_path, last + 1)
            raise StoreError(
                f"{path} is gone, though {self.lines_path.name} tells of round {told}; `campaign resume` computes it again"
            )

    def _tail(self) -> bytes:
        try:
            return files.read_bytes(self.lines_path)[-(2**20) :]
        except StoreError:  # it is derived; opening the arm writes it anew
            return b""

    def renew_lines(self) -> None:
        """Write rounds.jsonl anew where it is not what the manifests say."""
        wanted = b"".join(files.line(document["facts"]) for document in self.manifests())
        try:
            if files.read_bytes(self.lines_path) == wanted:
                return
        except StoreError:
            files.remove(self.lines_path)
        files.write_bytes(self.lines_path, wanted)

    def check(self) -> Progress:
        """Read every manifest and every tensor that is kept, and refuse what is not what was written; returns how far it is."""
        if not self.is_current():
            return self.progress()
        kept = set(manifest.numbers(self.state_path, "safetensors"))
        found, last = Progress(metric=self.metric()), self.last_number()
        for document in self.manifests():
            found.add(document["facts"], document[files.SEAL])
            if document["round"] in kept or document["round"] == last:
                manifest.state(self.state_path, document)
        return found

    def is_current(self) -> bool:
        """Whether it is of this version's schema, or not begun."""
        return bool(self.description().get("schema", SCHEMA) == SCHEMA)

    def note_failure(self, reason: str) -> None:
        """Write down why the arm ended before its last round."""
        with contextlib.suppress(StoreError):  # an arm.json that is not ours to write is then the reason
            if (about := self.description()).get("schema") == SCHEMA:
                self.describe({**about, "failure": reason})

    def note_start(self, score: Mapping[str, float | None]) -> None:
        """Write down how what the arm begins with scored."""
        self.describe({**self.description(), "start": dict(score)})

    def tracking(self) -> dict[str, Any]:
        """How far MLflow has got, as tasks/track.py wrote it; nothing when that is not there or not whole."""
        try:
            known = files.read_sealed(self.path / "tracking.json", TRACKING_SHAPE)
            return {"best_score": known.get("best_accuracy", 0.0), **known}
        except StoreError:
            return {}

    def is_tracked(self) -> bool:
        """Whether tracking has got every round."""
        cursor = self.tracking()
        if not self.is_current():
            return True  # the version that ran it sent what there was to send
        return bool(cursor) and cursor["status"] != "RUNNING" and cursor["sent_rounds"] == self.last_number()

    def last_number(self) -> int:
        """The last round there is a manifest of; whether it is sound is `manifests`' to say."""
        return max(manifest.numbers(self.state_path), default=0)


class OpenArm:
    """An arm at work. Its history is read once, here; a round costs the same at the end as at the start."""

    def __init__(self, folder: ArmFolder) -> None:
        self.folder = folder
        self.path, self.spool_path = folder.path, folder.spool_path
        self.progress = Progress(head=identity(folder.description()), metric=folder.metric())
        lines = hashlib.sha256()
        for document in folder.manifests():
            self.progress.add(document["facts"], document[files.SEAL])
            lines.update(files.line(document["facts"]))
        self.kept = manifest.numbers(folder.state_path, "safetensors")
        self._sweep()
        self._catch_up(lines.digest())

    def latest(self) -> ServerState | None:
        """The newest committed state; None before the first round."""
        return self.state(self.progress.last_round) if self.progress.last_round else None

    def state(self, number: int) -> ServerState:
        """The state of a committed round whose tensors are kept."""
        return manifest.state(self.folder.state_path, manifest.read(self.folder.state_path, number))

    def commit(self, state: ServerState, facts: Mapping[str, Any], keep_every: int = 0) -> None:
        """Commit the next round, then what follows from it."""
        assert state.round == facts["round"] == self.progress.last_round + 1, "rounds are committed in order"
        document = manifest.write(self.folder.state_path, state, facts, self.progress.head)
        self.progress.add(document["facts"], document[files.SEAL])
        files.append_line(self.folder.lines_path, document["facts"])
        self._prune(keep_every)

    def _prune(self, keep_every: int) -> None:
        """Keep the tensors of the last two rounds, the best and every N."""
        self.kept.append(self.progress.last_round)
        for number in self.kept[:-2]:
            if number == self.progress.best_round or (keep_every and number % keep_every == 0):
                continue
            self._drop(number)

    def _drop(self, number: int) -> None:
        self.kept.remove(number)
        with contextlib.suppress(FileNotFoundError):
            manifest.path_of(self.folder.state_path, number, "safetensors").unlink()

    def _sweep(self) -> None:
        """Remove what a kill left: half-written files, and tensors whose round was not committed."""
        for number in [n for n in self.kept if n > self.progress.last_round]:
            files.remove(manifest.path_of(self.folder.state_path, number, "safetensors"))
            self.kept.remove(number)
        for folder in (self.path, self.folder.state_path):
            for name in files.names(folder):
                if name.startswith((".adapter-", ".best-")) or (name.startswith(".") and name.endswith(".tmp")):
                    files.remove(folder / name)

    def _catch_up(self, wanted: bytes) -> None:
        """Write rounds.jsonl anew if it is not what the manifests say."""
        path = self.folder.lines_path
        if not os.path.lexists(path) and not self.progress.last_round:
            return
        try:
            if hashlib.sha256(files.read_bytes(path)).digest() == wanted:
                return
        except StoreError:
            files.remove(path)
        files.write_bytes(path, b"".join(files.line(document["facts"]) for document in self.folder.manifests()))


def identity(about: Mapping[str, Any]) -> str:
    """Digest of what an arm is and is computed from: the start of its chain."""
    return files.digest_of({key: about[key] for key in IDENTITY if key in about})


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """One level of mappings, such as the digests, as keys of their own."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= {f"{key}.{name}": inner for name, inner in value.items()} if isinstance(value, dict) else {key: value}
    return {key.removeprefix("digests.").removeprefix("inputs."): value for key, value in flat.items()}


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) and len(value) == 64 else repr(value)
