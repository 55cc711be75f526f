"""Ask a board's own tools (nvpmodel, tegrastats, vcgencmd): the beginning of what they print, within a time they cannot exceed."""

import os
import selectors
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from typing import Protocol

MOST_SECONDS = 2.0
MOST_BYTES = 64 * 1024
ELSEWHERE = ("/usr/sbin", "/sbin")  # nvpmodel is there, and a service's or a user's PATH may lack them


class Run(Protocol):
    """Runs a command and returns the first lines that it prints; empty if there is no such command."""

    def __call__(self, *command: str, lines: int) -> str: ...


def first_lines(*command: str, lines: int) -> str:
    """The first lines of a command's output; it is ended after them, after 64 KiB or after 2 s, with all it started."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *ELSEWHERE))
    found = shutil.which(command[0], path=path)
    if found is None:
        return ""
    try:
        process = subprocess.Popen(
            [found, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return ""
    try:
        printed = _beginning(process, lines, time.monotonic() + MOST_SECONDS)
    finally:
        _end(process)
    return "\n".join(printed.decode("utf-8", "replace").splitlines()[:lines])


def _beginning(process: "subprocess.Popen[bytes]", lines: int, until: float) -> bytes:
    assert process.stdout is not None
    printed = b""
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        while printed.count(b"\n") < lines and len(printed) < MOST_BYTES:
            left = until - time.monotonic()
            if left <= 0 or not ready.select(left):
                break
            some = os.read(process.stdout.fileno(), MOST_BYTES)
            if not some:
                break
            printed += some
    return printed[:MOST_BYTES]


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # a process that waits for a broken driver cannot even be killed
        process.wait(timeout=0.5)
    if process.stdout is not None:
        process.stdout.close()
