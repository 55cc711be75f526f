"""One process per campaign: an flock that the kernel drops when its holder dies, however it dies."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedquad.errors import LockedError
from fedquad.store.files import disk_error


@contextmanager
def hold(path: Path, name: str) -> Iterator[None]:
    """Hold the lock file, or say who does."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  held open: closing it drops the lock
    except OSError as error:
        raise disk_error(error, path) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise LockedError(
                f"campaign {name!r} is being run by {holder}; wait for it or give another --name"
            ) from None
        try:
            file.truncate(0)
            os.write(
                file.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode()
            )  # no buffer: a full disk shows here
        except OSError as error:
            raise disk_error(error, path) from error
        yield


def is_held(path: Path) -> bool:
    """Whether some process holds the lock now."""
    if not path.exists():
        return False
    with open(path, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
