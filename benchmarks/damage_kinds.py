"""Ways in which a file of a campaign can come to harm, each drawn from a seed."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedquad.store import files

DEEP = 100_000  # brackets
VALUES: tuple[Any, ...] = (None, True, -1, 0, 10**30, 1.5, -0.0, "", "x", "\ud800", [], {}, [[]], {"": 0})
TEXTS = (b"[" * DEEP, b'{"a":' * DEEP, b"NaN", b"1e999", b"\xff\xfe", b"", b"null", b"[]", b'"\\ud800"', b"9" * 5000)
Damage = Callable[[random.Random, Path, list[Path]], bool]


def flip(draw: random.Random, path: Path, others: list[Path]) -> bool:
    data = bytearray(path.read_bytes())
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
    return bool(data)


def truncate(draw: random.Random, path: Path, others: list[Path]) -> bool:
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data))] if data else data)
    return bool(data)


def delete(draw: random.Random, path: Path, others: list[Path]) -> bool:
    path.unlink()
    return True


def append(draw: random.Random, path: Path, others: list[Path]) -> bool:
    more = path.read_bytes() if draw.random() < 0.5 else draw.randbytes(draw.randrange(1, 99))
    path.write_bytes(path.read_bytes() + more)
    return bool(more)


def duplicate(draw: random.Random, path: Path, others: list[Path]) -> bool:
    """A copy under the name of a neighbour that is not there: the round after, or one far ahead."""
    stem, _, number = path.stem.rpartition("-")
    name = (
        f"{stem}-{int(number) + draw.choice((1, 2, 40)):04d}{path.suffix}" if number.isdigit() else f"{path.name}.copy"
    )
    is_new = not path.with_name(name).exists()
    shutil.copy(path, path.with_name(name))
    return is_new or path.suffix == ".json"


def swap(draw: random.Random, path: Path, others: list[Path]) -> bool:
    alike = [other for other in others if other.suffix == path.suffix and other.read_bytes() != path.read_bytes()]
    if alike:
        other = draw.choice(alike)
        mine, theirs = path.read_bytes(), other.read_bytes()
        path.write_bytes(theirs)
        other.write_bytes(mine)
    return bool(alike)


def folder(draw: random.Random, path: Path, others: list[Path]) -> bool:
    path.unlink()
    path.mkdir()
    return True


def pipe(draw: random.Random, path: Path, others: list[Path]) -> bool:
    path.unlink()
    os.mkfifo(path)
    return True


def link(draw: random.Random, path: Path, others: list[Path]) -> bool:
    target = draw.choice(["/etc/passwd", "/dev/zero", "/nowhere", str(path), str(draw.choice(others))])
    path.unlink()
    path.symlink_to(target)
    return True


def text(draw: random.Random, path: Path, others: list[Path]) -> bool:
    """Something else altogether."""
    path.write_bytes(draw.choice(TEXTS))
    return True


def edit(draw: random.Random, path: Path, others: list[Path]) -> bool:
    """One value of a JSON document, or of one of its lines: another, of another type, or gone."""
    if path.suffix not in (".json", ".jsonl"):
        return False
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    at = draw.randrange(len(lines)) if lines else 0
    document = json.loads(lines[at]) if lines else []
    before = json.dumps(document)
    _edit(draw, document)
    if not lines or json.dumps(document) == before:
        return False
    path.write_text("\n".join([*lines[:at], json.dumps(document), *lines[at + 1 :]]) + "\n")
    return True


def forge(draw: random.Random, path: Path, others: list[Path]) -> bool:
    """An edit with the seal made anew: nobody can tell it from the truth, but it must not do worse than be believed."""
    if path.suffix != ".json" or not edit(draw, path, others):
        return False
    document = json.loads(path.read_text())
    if not isinstance(document, dict) or files.SEAL not in document:
        return False
    files.write_sealed(path, document)
    return True


def _edit(draw: random.Random, document: Any) -> None:
    places = list(_places(document))
    if not places:
        return
    holder, key = draw.choice(places)
    if draw.random() < 0.2:
        del holder[key]
    elif isinstance(holder[key], int | float) and draw.random() < 0.5:
        holder[key] = holder[key] + draw.choice((1, -1, 0.5, 1000))
    else:
        holder[key] = draw.choice(VALUES)


def _places(document: Any) -> Any:
    """Every (holder, key) of a document."""
    keys = document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for key in keys:
        yield document, key
        yield from _places(document[key])


KINDS: dict[str, Damage] = {
    one.__name__: one
    for one in (flip, truncate, delete, append, duplicate, swap, folder, pipe, link, text, edit, forge)
}
