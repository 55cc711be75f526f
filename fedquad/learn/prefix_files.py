"""Kept prefixes in the files of a folder, where a process that comes later finds them, and so do processes that share it.

A file is named by its entry's key and begins with a digest of the rest: what is not as it was written is computed again. The least
recently used goes first, by its file's time. Each process looks at the folder again after an eighth of its bytes, so that each of several
may add so much to the bound.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from fedquad.learn.prefix import Entry, Prefixes

DIGEST = hashlib.sha256().digest_size


class PrefixFiles(Prefixes):
    """Entries on a disk, bounded in bytes."""

    def __init__(self, folder: Path, most_bytes: int, is_coded: bool = True) -> None:
        super().__init__(most_bytes, is_coded)
        self.folder = folder
        self.unseen = 0  # bytes written since the folder was looked at
        with suppress(OSError):  # a folder that cannot be used keeps nothing
            folder.mkdir(parents=True, exist_ok=True)
        self._trim()

    def find(self, key: str) -> Entry | None:
        entry, path = None, self.folder / key
        with suppress(OSError, SafetensorError, KeyError, ValueError):
            entry = _read(path)
            os.utime(path)
        self.hits, self.misses = self.hits + (entry is not None), self.misses + (entry is None)
        return entry

    def _hold(self, key: str, entry: Entry) -> None:
        content = _content(entry)
        if len(content) > self.most_bytes:
            return
        temporary = self.folder / f".{key}.{os.getpid()}"
        with suppress(OSError):  # a full disk: what cannot be kept is computed again
            temporary.write_bytes(content)
            os.replace(temporary, self.folder / key)
        self.unseen += len(content)
        if self.bytes + self.unseen > self.most_bytes or self.unseen > self.most_bytes // 8:
            self._trim()

    def _trim(self) -> None:
        """Look at what is there, and let the oldest go until the rest has room."""
        there = []
        with suppress(OSError):
            for item in os.scandir(self.folder):
                with suppress(FileNotFoundError):  # another process trims too
                    there.append((item.stat().st_mtime_ns, item.stat().st_size, item.path))
        there.sort()
        self.bytes, self.unseen = sum(size for _, size, _ in there), 0
        for _, size, path in there:
            if self.bytes <= self.most_bytes:
                break
            with suppress(FileNotFoundError):
                os.unlink(path)
            self.bytes -= size


def _content(entry: Entry) -> bytes:
    scales = {} if entry.scales is None else {"scales": entry.scales.cpu()}
    tensors: bytes = save({"codes": entry.codes.cpu(), **scales})
    return hashlib.sha256(tensors).digest() + tensors


def _read(path: Path) -> Entry:
    content = path.read_bytes()
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        raise ValueError(f"{path} is not what was written")
    tensors: dict[str, torch.Tensor] = load(content[DIGEST:])
    return Entry(tensors["codes"], tensors.get("scales"))
