"""A committed round: its manifest, which names its tensors by digest and the manifest before it by digest, and the state they hold.

    state/round-0007.json          {"schema", "round", "before", "sha256", "tensors", "numbers", "memo_numbers", "facts", "digest"}
    state/round-0007.safetensors   the adapter, the method's arrays, every array of the state

The chain of `before` begins with the digest of what the arm is computed from, so no byte of a round, of its order or of its origin
changes unnoticed.
"""

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from fedquad.errors import StoreError
from fedquad.rounds import adapters
from fedquad.rounds.facts import ROUND_FIGURES
from fedquad.store import files
from fedquad.store.shape import NUMBER, typed
from fedquad.types import ServerState

SCHEMA = 2  # of an arm: what its states mean and how they are written
NAME = re.compile(r"round-(\d{4,})\.(json|safetensors)")
FACTS: dict[str, Any] = {
    **dict.fromkeys(ROUND_FIGURES, NUMBER),
    "round": int,
    "score": float,
    "validation_score": float,
    "elapsed_seconds": float,
    "mean_wait_seconds": float,
    "state_digest": str,
    "assignments": [dict],
}
SHAPE: dict[str, Any] = {
    "schema": int,
    "round": int,
    "before": str,
    "sha256": str,
    "tensors": dict,
    "numbers": {str: float},
    "memo_numbers": {str: (float, bool)},
    "facts": FACTS,
}
SPECIAL = ("round", "adapter", "memo")  # fields of a state that are written in a way of their own


def path_of(folder: Path, number: int, kind: str = "json") -> Path:
    return folder / f"round-{number:04d}.{kind}"


def numbers(folder: Path, kind: str = "json") -> list[int]:
    """The rounds that have a file of this kind, ascending."""
    found = (NAME.fullmatch(name) for name in files.names(folder))
    return sorted(int(match[1]) for match in found if match and match[2] == kind)


def write(folder: Path, state: ServerState, facts: Mapping[str, Any], before: str) -> dict[str, Any]:
    """Write the tensors, then the manifest, whose rename is the commit."""
    tensors = _tensors(state)
    files.write_tensors(path_of(folder, state.round, "safetensors"), tensors)
    document = {
        "schema": SCHEMA,
        "round": state.round,
        "before": before,
        "sha256": adapters.tensors_digest(tensors),
        "tensors": {name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in tensors.items()},
        "numbers": {name: value for name, value in _own_fields(state).items() if name not in tensors},
        "memo_numbers": {name: value for name, value in state.memo.items() if not isinstance(value, np.ndarray)},
        "facts": dict(facts),
    }
    return files.write_sealed(path_of(folder, state.round), document)


def read(folder: Path, number: int, before: str | None = None) -> dict[str, Any]:
    """One round's manifest; with `before`, refused unless it follows that one."""
    path = path_of(folder, number)
    document = files.read_sealed(path, {**SHAPE, "facts": dict})
    document["facts"] = upgraded(document["facts"])
    typed(document, SHAPE, path)
    if document["schema"] != SCHEMA or not number == document["round"] == document["facts"]["round"]:
        raise StoreError(
            f"{path} is of round {document['round']}, schema {document['schema']}; put the right file back"
        )
    if before is not None and document["before"] != before:
        raise StoreError(
            f"{path} does not follow what is before it: it follows {document['before'][:12]}, and {before[:12]} is there"
        )
    return document


def upgraded(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts from before there were metrics, as they are now: what was accuracy is the score."""
    if "score" in facts or not {"accuracy", "validation_accuracy"} <= set(facts):
        return facts
    return {**facts, "score": facts["accuracy"], "validation_score": facts["validation_accuracy"]}


def state(folder: Path, manifest: Mapping[str, Any]) -> ServerState:
    """The state a manifest commits, its tensors checked."""
    path = path_of(folder, manifest["round"], "safetensors")
    tensors = tensors_of(folder, manifest)

    def group(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}

    known = {**manifest["numbers"], **tensors}
    try:
        return ServerState(
            round=manifest["round"],
            adapter=adapters.unflatten(group("adapter.")),
            memo={**group("memo."), **manifest["memo_numbers"]},
            **{item.name: known[item.name] for item in fields(ServerState) if item.name not in SPECIAL},
        )
    except (KeyError, ValueError) as error:
        raise StoreError(f"{path} holds no state of this version: {error}") from error


def tensors_of(folder: Path, manifest: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tensors a manifest names, or say that they are not those."""
    number = manifest["round"]
    path = path_of(folder, number, "safetensors")
    tensors = files.read_tensors(path)
    found = adapters.tensors_digest(tensors)
    if found != manifest["sha256"]:
        raise StoreError(
            f"{path} has digest {found[:12]}, but its manifest says {manifest['sha256'][:12]}; "
            f"`campaign resume NAME --from-round N` goes back to an earlier round"
        )
    return tensors


def _own_fields(state: ServerState) -> dict[str, Any]:
    return {item.name: getattr(state, item.name) for item in fields(state) if item.name not in SPECIAL}


def _tensors(state: ServerState) -> dict[str, np.ndarray]:
    adapter = {f"adapter.{name}": array for name, array in adapters.flatten(state.adapter).items()}
    memo = {f"memo.{name}": value for name, value in state.memo.items()}
    named = {**adapter, **memo, **_own_fields(state)}
    return {name: value for name, value in named.items() if isinstance(value, np.ndarray)}
