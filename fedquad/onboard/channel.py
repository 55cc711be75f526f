"""Talking to the resident trainer: one JSON line asks, lines of progress follow, and the last line is the answer.

    {"op": "train", ...}          ->   {"step": 1, "of": 8}   ...   {"ok": {...}}   or   {"error": "..."}

Whoever hangs up ends the job at its next step.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedquad.errors import DeviceError

LINE_BYTES = 1 << 24
CONNECT_SECONDS = 120.0  # a trainer that is started again imports torch first


async def ask(
    socket: Path, request: Mapping[str, Any], progress: Callable[[Mapping[str, Any]], None] = lambda line: None
) -> dict[str, Any]:
    """The trainer's answer; a trainer that is not there is waited for, one that ends in the middle is an error."""
    reader, writer = await _connected(socket)
    try:
        writer.write(json.dumps(dict(request)).encode() + b"\n")
        await writer.drain()
        while line := await reader.readline():
            said = json.loads(line)
            if "error" in said:
                raise DeviceError(said["error"])
            if "ok" in said:
                return said["ok"]  # type: ignore[no-any-return]
            progress(said)
    except ConnectionError as error:
        raise DeviceError(f"the trainer hung up ({error})") from None
    finally:
        writer.close()
    raise DeviceError("the trainer ended in the middle of the job")


async def _connected(socket: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    end = asyncio.get_running_loop().time() + CONNECT_SECONDS
    while True:
        try:
            return await asyncio.open_unix_connection(str(socket), limit=LINE_BYTES)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if asyncio.get_running_loop().time() > end:
                raise DeviceError(
                    f"no trainer listens on {socket} ({error}); `fedquad device trainer` starts one"
                ) from None
        await asyncio.sleep(0.1)
