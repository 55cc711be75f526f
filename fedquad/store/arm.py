"""An arm on disk: its rounds, the states it can resume from, its adapter.

    arms/LABEL-sSEED/
      arm.json                     what is compared: method, params, seed, digests
      rounds.jsonl                 RoundFacts, a line a finished round
      state/round-0007.safetensors, .json
      adapter/, best/              PEFT folders: the last round's, the best round's by validation

A round is committed by the rename of state/round-0007.json, which holds its facts and the digest of the safetensors written
before it. Everything else is derived from it and caught up when the arm is opened.
"""

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedquad.errors import StoreError
from fedquad.rounds import adapters
from fedquad.store import files
from fedquad.types import ServerState

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class ArmFolder:
    """The folder of one arm."""

    path: Path

    @property
    def state_path(self) -> Path:
        return self.path / "state"

    @property
    def spool_path(self) -> Path:
        """Updates of the round in progress; worth nothing afterwards."""
        return self.path / "spool"

    def rounds(self) -> list[dict[str, Any]]:
        """The facts of every committed round."""
        return files.read_lines(self.path / "rounds.jsonl")

    def describe(self, document: Mapping[str, Any]) -> None:
        files.write_json(self.path / "arm.json", document)

    def description(self) -> dict[str, Any]:
        path = self.path / "arm.json"
        return files.read_json(path) if path.exists() else {}

    def note_failure(self, reason: str) -> None:
        """Write down why the arm ended before its last round."""
        self.describe({**self.description(), "failure": reason})

    def is_tracked(self) -> bool:
        """Whether tracking has got every round; tracking.json is written by tasks/track.py."""
        path = self.path / "tracking.json"
        cursor = files.read_json(path) if path.exists() else {"sent_rounds": 0, "status": "RUNNING"}
        return cursor["status"] != "RUNNING" and cursor["sent_rounds"] == len(self.rounds())

    def commit(self, state: ServerState, facts: Mapping[str, Any], keep_every: int = 0) -> None:
        """Commit a round: tensors, then the manifest whose rename is the commit, then what follows from it."""
        stem = self.state_path / f"round-{state.round:04d}"
        tensors = _tensors(state)
        files.write_tensors(stem.with_suffix(".safetensors"), tensors)
        manifest = {
            "schema": SCHEMA,
            "round": state.round,
            "tensors": {
                name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in tensors.items()
            },
            "sha256": adapters.tensors_digest(tensors),
            "memo_numbers": {name: value for name, value in state.memo.items() if not isinstance(value, np.ndarray)},
            "mean_seconds": state.mean_seconds,
            "clock_seconds": state.clock_seconds,
            "facts": dict(facts),
        }
        files.write_json(stem.with_suffix(".json"), manifest)
        files.append_line(self.path / "rounds.jsonl", facts)
        self._prune(keep_every)

    def latest(self) -> ServerState | None:
        """The newest committed state, after catching rounds.jsonl up with it; None before the first round."""
        for path in reversed(self._manifests()):
            manifest = files.read_json(path)
            tensors = files.read_tensors(path.with_suffix(".safetensors"))
            found = adapters.tensors_digest(tensors)
            if found != manifest["sha256"]:
                raise StoreError(
                    f"{path.with_suffix('.safetensors')} has digest {found[:12]}, but its manifest says {manifest['sha256'][:12]}; "
                    f"delete both files to go on from the round before"
                )
            self._catch_up(manifest["facts"])
            return _state(manifest, tensors)
        self._truncate_rounds(0)
        return None

    def clear_spool(self) -> None:
        shutil.rmtree(self.spool_path, ignore_errors=True)

    def best_round(self) -> int:
        """The round with the best validation accuracy, the first of equals; 0 before any."""
        rounds = self.rounds()
        return max(rounds, key=lambda r: (r["validation_accuracy"], -r["round"]))["round"] if rounds else 0

    def _manifests(self) -> list[Path]:
        return sorted(self.state_path.glob("round-*.json"))

    def _catch_up(self, facts: Mapping[str, Any]) -> None:
        """A kill between the commit and the line leaves the line missing, or cut short."""
        self._truncate_rounds(
            facts["round"] - 1 if facts["round"] not in {r["round"] for r in self.rounds()} else facts["round"]
        )
        if len(self.rounds()) < facts["round"]:
            files.append_line(self.path / "rounds.jsonl", facts)

    def _truncate_rounds(self, last: int) -> None:
        path = self.path / "rounds.jsonl"
        if not path.exists():
            return
        text = "".join(json.dumps(r) + "\n" for r in self.rounds() if r["round"] <= last)
        if path.read_text(encoding="utf-8") != text:
            files.write_bytes(path, text.encode())

    def _prune(self, keep_every: int) -> None:
        """Keep the last two states, the best and every N."""
        manifests = self._manifests()
        best = self.best_round()
        for path in manifests[:-2]:
            number = int(path.stem.removeprefix("round-"))
            if number == best or (keep_every and number % keep_every == 0):
                continue
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                path.with_suffix(".safetensors").unlink()


def _tensors(state: ServerState) -> dict[str, np.ndarray]:
    memo = {f"memo.{name}": value for name, value in state.memo.items() if isinstance(value, np.ndarray)}
    adapter = {f"adapter.{name}": array for name, array in adapters.flatten(state.adapter).items()}
    return {**adapter, **memo, "gradient_norms": state.gradient_norms, "pace": state.pace}


def _state(manifest: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> ServerState:
    def group(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}

    return ServerState(
        round=manifest["round"],
        adapter=adapters.unflatten(group("adapter.")),
        memo={**group("memo."), **manifest["memo_numbers"]},
        gradient_norms=tensors["gradient_norms"],
        pace=tensors["pace"],
        mean_seconds=manifest["mean_seconds"],
        clock_seconds=manifest["clock_seconds"],
    )
