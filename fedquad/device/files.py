"""Read the small files of /proc, /sys and /etc: what is missing, unreadable, huge or no file at all reads as nothing."""

import os
import re
from itertools import islice
from pathlib import Path

MOST_BYTES = 256 * 1024  # /proc/cpuinfo of a large machine; everything else is a line
MOST_ENTRIES = 512
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


def text(path: Path) -> str:
    """The beginning of a file, decoded and without what surrounds it; empty if it cannot be read."""
    try:
        # not blocking: a pipe may lie in a file's place
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return ""
    found = b""
    try:
        # /proc answers by the page, however much is asked for
        while len(found) < MOST_BYTES and (some := os.read(descriptor, MOST_BYTES - len(found))):
            found += some
    except OSError:  # a folder, a pipe, or a sensor that is switched off, which answers EAGAIN or EINVAL
        return ""
    finally:
        os.close(descriptor)
    return found.decode("utf-8", "replace").strip("\0 \t\r\n")


def number(path: Path) -> float:
    """A file's whole number; nan if it holds anything else."""
    found = text(path)
    return float(found) if WHOLE_NUMBER.fullmatch(found) else float("nan")


def entries(folder: Path, beginning: str = "") -> list[Path]:
    """What lies in a folder under names that begin so, in their natural order (cpu2 before cpu10); at most 512."""
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry in islice(found, 8 * MOST_ENTRIES) if entry.name.startswith(beginning)]
    except OSError:
        return []
    return [folder / name for name in sorted(names, key=_natural)[:MOST_ENTRIES]]


def _natural(name: str) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isascii() and part.isdigit() else (-1, part)
        for part in re.split(r"([0-9]{1,18})", name)
    ]
