"""What a disk may hold after a power loss: what some code did to a folder, recorded, and every state that this allows.

    with Recorder(folder) as recorder:
        commit()
        recorder.mark("committed")
    for loss in recorder.losses(): loss.restore(elsewhere)

A file's content is there for certain once the file was flushed, a name in a folder once the folder was. Of all else each may be
there or not, whatever came before or after it, and content may be cut short or be zeros. The model is stricter than any one file
system: nothing is kept in order but what a flush orders.
"""

import hashlib
import itertools
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

WATCHED = ("rename", "replace", "unlink", "remove", "rmdir", "mkdir", "fsync")
ALL_SUBSETS_UNTIL = 5  # operations that may be lost; of more, single ones, all but one, and a draw
DRAWN = 4
ROOT = 0


@dataclass(frozen=True)
class Written:
    node: int
    data: bytes


@dataclass(frozen=True)
class Named:
    """Names in folders that come or go together: (folder, name, node, or None where it goes)."""

    changes: tuple[tuple[int, str, int | None], ...]


@dataclass(frozen=True)
class Flushed:
    node: int


Operation = Written | Named | Flushed
Tree = dict[str, bytes | None]  # path -> content; None for a folder


@dataclass
class Disk:
    """Folders and files by number, as a file system has them."""

    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    files: dict[int, bytes] = field(default_factory=dict)

    def copy(self) -> "Disk":
        return Disk({node: dict(names) for node, names in self.folders.items()}, dict(self.files))

    def do(self, operation: Operation) -> None:
        if isinstance(operation, Written):
            self.files[operation.node] = operation.data
        elif isinstance(operation, Named):
            for folder, name, node in operation.changes:
                if node is None:
                    self.folders[folder].pop(name, None)
                else:
                    self.folders[folder][name] = node

    def tree(self, node: int = ROOT, at: str = "") -> Tree:
        found: Tree = {}
        for name, inner in self.folders[node].items():
            path = f"{at}{name}"
            found[path] = self.files.get(inner, b"") if inner not in self.folders else None
            if inner in self.folders:
                found |= self.tree(inner, f"{path}/")
        return found


@dataclass(frozen=True)
class Loss:
    """The power fails after so many operations."""

    after: int
    marks: frozenset[str]  # what the code had come to
    tree: Tree

    def restore(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for path, data in self.tree.items():
            (folder / path).mkdir(exist_ok=True) if data is None else (folder / path).write_bytes(data)


class Recorder:
    """Follows a folder: each change of a name and each flush as it happens, content whenever one of those does."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.nodes: dict[str, int] = {"": ROOT}  # by path from the root
        self.disk = Disk()
        self.operations: list[Operation] = []
        self.marks: dict[str, int] = {}
        self._count = itertools.count(1)

    def __enter__(self) -> Self:
        self._look()
        self.start = self.disk.copy()
        self.operations.clear()
        self._originals = {name: getattr(os, name) for name in WATCHED}
        for name, original in self._originals.items():
            setattr(os, name, self._watching(name, original))
        return self

    def __exit__(self, *_: object) -> None:
        for name, original in self._originals.items():
            setattr(os, name, original)
        self._look()

    def mark(self, name: str) -> None:
        """The code has come so far; whatever it promised from here on holds after any loss."""
        self._look()
        self.marks[name] = len(self.operations)

    def _watching(self, name: str, original: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            self._look()
            answer = original(*arguments, **more)
            if name in ("rename", "replace"):
                self._renamed(*(self._path(argument) for argument in arguments))
            elif name == "fsync" and (path := self._path(f"/proc/self/fd/{arguments[0]}")) is not None:
                self._do(Flushed(self.nodes[path]))
            self._look()
            return answer

        return call

    def _path(self, path: Any) -> str | None:
        """From the root, if it is under it."""
        whole = Path(path).parent.resolve() / Path(path).name if "/proc/" not in str(path) else Path(os.readlink(path))
        if not whole.is_relative_to(self.root):
            return None
        return "" if whole == self.root else str(whole.relative_to(self.root))

    def _do(self, operation: Operation) -> None:
        self.operations.append(operation)
        self.disk.do(operation)

    def _place(self, path: str) -> tuple[int, str]:
        folder, _, name = path.rpartition("/")
        return self.nodes[folder], name

    def _renamed(self, old: str | None, new: str | None) -> None:
        assert old is not None, "something came from outside"
        assert new is not None, "something went outside"
        node = self.nodes[old]
        self._do(Named(((*self._place(old), None), (*self._place(new), node))))
        moved = {path: n for path, n in self.nodes.items() if path == old or path.startswith(f"{old}/")}
        for path in [p for p in self.nodes if p in moved or p == new or p.startswith(f"{new}/")]:
            del self.nodes[path]
        self.nodes |= {new + path.removeprefix(old): n for path, n in moved.items()}

    def _look(self) -> None:
        """Take in what came, went or was written since the last look."""
        there = {str(path.relative_to(self.root)): path for path in sorted(self.root.rglob("*"))}
        for path in sorted(set(self.nodes) - set(there) - {""}, reverse=True):
            self._do(Named(((*self._place(path), None),)))
            del self.nodes[path]
        for path, real in there.items():
            if path not in self.nodes:
                self.nodes[path] = next(self._count)
                if real.is_dir():
                    self.disk.folders[self.nodes[path]] = {}
                self._do(Named(((*self._place(path), self.nodes[path]),)))
            if not real.is_dir() and (data := real.read_bytes()) != self.disk.files.get(self.nodes[path], b""):
                self._do(Written(self.nodes[path], data))

    def losses(self, since: int = 0) -> Iterator[Loss]:
        """Every state after so many operations or more, each once for what had been come to."""
        seen = set()
        for after in range(since, len(self.operations) + 1):
            marks = frozenset(name for name, at in self.marks.items() if at <= after)
            for fate in self._fates(after):
                tree = self._left(after, fate)
                key = marks, hashlib.sha256(repr(sorted(tree.items())).encode()).digest()
                if key not in seen:
                    seen.add(key)
                    yield Loss(after, marks, tree)

    def _fates(self, after: int) -> Iterator[Mapping[int, str]]:
        """What becomes of the operations that no flush has made certain, by their place; one that is not told of is there."""
        open_ones = [at for at in range(after) if not self._is_certain(at, after)]
        for lost in _subsets(open_ones, random.Random(after)):
            yield dict.fromkeys(lost, "lost")
            for at in open_ones:
                if at not in lost and isinstance(self.operations[at], Written):
                    yield {**dict.fromkeys(lost, "lost"), at: "cut"}
                    yield {**dict.fromkeys(lost, "lost"), at: "zeros"}

    def _is_certain(self, at: int, after: int) -> bool:
        one = self.operations[at]
        flushed = {later.node for later in self.operations[at:after] if isinstance(later, Flushed)}
        if isinstance(one, Written):
            return one.node in flushed
        return isinstance(one, Flushed) or {folder for folder, _, _ in one.changes} <= flushed

    def _left(self, after: int, fate: Mapping[int, str]) -> Tree:
        disk = self.start.copy()
        disk.folders = {node: {} for node in self.disk.folders} | disk.folders
        for at, one in enumerate(self.operations[:after]):
            if fate.get(at) == "lost":
                continue
            if at in fate and isinstance(one, Written):
                old = disk.files.get(one.node, b"")
                kept = len(old) if one.data.startswith(old) else 0
                rest = one.data[kept:]
                rest = rest[: len(rest) // 2] if fate[at] == "cut" else bytes(len(rest))
                disk.do(Written(one.node, one.data[:kept] + rest))
            else:
                disk.do(one)
        return disk.tree()


def _subsets(items: Sequence[int], draw: random.Random) -> Iterator[frozenset[int]]:
    if len(items) <= ALL_SUBSETS_UNTIL:
        for size in range(len(items) + 1):
            yield from map(frozenset, itertools.combinations(items, size))
        return
    whole = frozenset(items)
    yield from (frozenset(), whole)
    for one in items:
        yield from (frozenset({one}), whole - {one})
    for _ in range(DRAWN):
        yield frozenset(item for item in items if draw.random() < 0.5)
