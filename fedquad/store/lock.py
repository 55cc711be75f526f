"""One process per campaign: an flock that the kernel drops when its holder dies, however it dies."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedquad.errors import LockedError, StoreError
from fedquad.store.files import disk_error, make_folder


@contextmanager
def hold(path: Path, name: str) -> Iterator[None]:
    """Hold the lock file, or say who does."""
    try:
        make_folder(path.parent)
        file = open(_handle(path, os.O_RDWR | os.O_CREAT), "r+", errors="replace")  # noqa: SIM115  held open: closing it drops the lock
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


def _handle(path: Path, flags: int) -> int:
    """Open the lock itself, without following a link or waiting for the other end of a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)


def is_held(path: Path) -> bool:
    """Whether some process holds the lock now."""
    try:
        file = open(_handle(path, os.O_RDONLY), "rb")  # noqa: SIM115  closed below
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
