"""The files that a job names, at whatever depth: a path here becomes a digest on its way, and a path again where it is done.

    document = to_json(train)
    paths(document, READ)                             # {"/runs/cache/shards/77ab.safetensors", "/runs/.../sent-1f3a.safetensors"}
    renamed(document, READ, {"/runs/...": "9f86..."})  # the job with a digest in place of each

Whatever jobs.py holds passes through here as JSON: a new kind of job needs nothing as long as its fields have these names.
"""

from collections.abc import Collection, Mapping
from typing import Any

SENT = ("adapter", "former")  # of one round
KEPT = ("shards", "splits")  # of the whole campaign
READ = (*SENT, *KEPT)
WRITTEN = ("out",)


def paths(part: Any, keys: Collection[str]) -> set[str]:
    """Every text below one of these keys."""
    found: set[str] = set()

    def note(text: str) -> str:
        found.add(text)
        return text

    _walk(part, keys, note, False)
    return found


def renamed(part: Any, keys: Collection[str], names: Mapping[str, str]) -> Any:
    """The same with each of those texts as `names` has it."""
    return _walk(part, keys, names.__getitem__, False)


def _walk(part: Any, keys: Collection[str], name: Any, is_below: bool) -> Any:
    if isinstance(part, Mapping):
        return {key: _walk(value, keys, name, is_below or key in keys) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_walk(value, keys, name, is_below) for value in part]
    return name(part) if is_below and isinstance(part, str) else part
