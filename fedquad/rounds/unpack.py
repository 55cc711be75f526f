"""Bytes that a device sent, as plain values or a reason: JSON and safetensors, read by hand, bounded before anything is parsed.

    8 bytes     n, the header's length, little-endian
    n bytes     {"layers.7.q.a": {"dtype": "F32", "shape": [8, 64], "data_offsets": [0, 2048]}, ...}
    the rest    the numbers, in the order of their offsets, without a hole

A library's parser accepts more than we ever write (other types, metadata, gaps, a key twice) and raises what it likes.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from fedquad.types import Array32

HEADER_BYTES = 128  # of one tensor in the header, besides its name: at most 87 with offsets and sizes of ten digits
MOST_DIMENSIONS = 4
SHOWN = 60  # characters of a wrong value that a reason repeats


class Refused(Exception):
    """Why what a device sent is not used; its text is the reason."""


def shown(value: object) -> str:
    """A value as a reason repeats it: short, on one line, nothing in it that a terminal obeys."""
    text = repr(value[:SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def strict_json(data: bytes, what: str, most_brackets: int) -> Any:
    """JSON with no key twice and no NaN. Brackets are counted first: as many as there are, so deep can they nest."""
    if data.count(b"[") + data.count(b"{") > most_brackets:
        raise Refused(f"{what} has more than {most_brackets} brackets")
    try:
        return json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except UnicodeDecodeError:
        raise Refused(f"{what} is not UTF-8") from None
    except ValueError as error:
        raise Refused(f"{what} is not JSON: {shown(str(error))}") from None
    except RecursionError:
        raise Refused(f"{what} is nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Refused(f"a key of {shown(next(iter(made)))} and its neighbours is there twice")
    return made


def _no_number(constant: str) -> NoReturn:
    raise Refused(f"{constant} is no number")


def keys(found: object, wanted: frozenset[str], what: str) -> Mapping[str, Any]:
    """An object with exactly these keys."""
    if type(found) is not dict:
        raise Refused(f"{what} is {shown(found)}, not an object")
    if found.keys() != wanted:
        extra, missing = shown(sorted(found.keys() - wanted)), shown(sorted(wanted - found.keys()))
        raise Refused(f"{what} does not have the keys it should: extra {extra}, missing {missing}")
    return found


def number(found: object, what: str, least: float, most: float) -> float:
    """A finite number between bounds; true is none."""
    if type(found) not in (int, float) or not least <= found <= most:  # type: ignore[operator]
        raise Refused(f"{what} is {shown(found)}, not a number from {least:g} to {most:g}")
    return float(found)  # type: ignore[arg-type]


def whole(found: object, what: str, least: int, most: int) -> int:
    """A whole number between bounds; 1.0 and true are none."""
    if type(found) is not int or not least <= found <= most:
        raise Refused(f"{what} is {shown(found)}, not a whole number from {least} to {most}")
    return found


def text(found: object, what: str, most: int) -> str:
    if type(found) is not str or len(found) > most:
        raise Refused(f"{what} is {shown(found)}, not a text of at most {most} characters")
    return found


def listed(found: object, what: str, most: int) -> list[Any]:
    if type(found) is not list or len(found) > most:
        raise Refused(f"{what} is {shown(found)}, not a list of at most {most}")
    return found


ENTRY = frozenset({"dtype", "shape", "data_offsets"})


def tensors(data: bytes, most_tensors: int) -> dict[str, Array32]:
    """The arrays of a safetensors file, read-only and without a copy: float32, and together exactly its bytes."""
    size = int.from_bytes(data[:8], "little")
    start = 8 + size
    if len(data) < 8 or start > len(data):
        raise Refused(f"its tensors are cut short: {len(data)} bytes, of which a header of {size if data[8:] else 0}")
    header = strict_json(data[8:start], "its tensors' header", most_brackets=1 + 3 * most_tensors)
    if type(header) is not dict:
        raise Refused(f"its tensors' header is {shown(header)}, not an object")
    spans = sorted(_span(name, entry) for name, entry in header.items())
    found, end = {}, 0
    for begin, until, name, shape in spans:
        if begin != end:
            raise Refused(f"tensor {shown(name)} begins at byte {shown(begin)}, where {shown(end)} was next")
        if start + until > len(data):
            raise Refused(
                f"its tensors are cut short: {shown(name)} ends at byte {shown(until)} of {len(data) - start}"
            )
        found[name] = np.frombuffer(data, "<f4", (until - begin) // 4, start + begin).reshape(shape)
        end = until
    if start + end != len(data):
        raise Refused(f"{len(data) - start - end} bytes lie behind its tensors")
    return found


def _span(name: str, entry: object) -> tuple[int, int, str, tuple[int, ...]]:
    """Where a tensor's bytes are, if they are as many as its shape needs."""
    what = f"tensor {shown(name)}"
    fields = keys(entry, ENTRY, what)
    if fields["dtype"] != "F32":
        raise Refused(f"{what} has dtype {shown(fields['dtype'])}, not float32")
    sizes = listed(fields["shape"], f"the shape of {what}", MOST_DIMENSIONS)
    shape = tuple(whole(size, f"the shape of {what}", 1, 2**31) for size in sizes)
    offsets = listed(fields["data_offsets"], f"the offsets of {what}", 2)
    if len(offsets) != 2:
        raise Refused(f"the offsets of {what} are {shown(offsets)}, not two")
    begin, end = (whole(offset, f"an offset of {what}", 0, 2**40) for offset in offsets)
    if end - begin != 4 * math.prod(shape):
        raise Refused(f"{what} has shape {shown(shape)}, but {shown(end - begin)} bytes")
    return begin, end, name, shape
