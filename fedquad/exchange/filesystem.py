"""Contents in whatever fsspec reaches: a folder, memory, an object store."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from fedquad.errors import ExchangeError, quoted, shown
from fedquad.exchange.medium import Away, too_large

RENAMING = {"file", "local", "sftp", "ssh", "ftp", "smb"}  # elsewhere an object is there when all of it is
PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class Filesystem:
    """A folder of a file system."""

    system: Any  # fsspec's
    folder: str
    is_renaming: bool
    is_own: bool  # ours to remove: not the folder that was named, but a scope below it

    @property
    def where(self) -> str:
        return shown(
            f"{self.system.protocol if isinstance(self.system.protocol, str) else self.system.protocol[0]}:{self.folder}"
        )

    def size(self, name: str) -> int | None:
        with self._failing("look for", name):
            found = self._info(name)
        return None if found is None else found["size"]

    def read(self, name: str, most: int) -> bytes | None:
        with self._failing("read", name):
            found = self._info(name)
            if found is None:
                return None
            size = found["size"] if found["size"] is not None else most
            if size > most:
                raise too_large(self.where, str(size), most)
            with self.system.open(self._path(name), "rb") as file:
                content: bytes = file.read(size + 1)
        if len(content) > most:
            raise too_large(self.where, f"over {most}", most)
        return content

    def write(self, name: str, content: bytes) -> None:
        with self._failing("write", name):
            self.system.makedirs(self.folder, exist_ok=True)
            if not self.is_renaming:
                self.system.pipe_file(self._path(name), content)
                return
            partial = self._path(f"{name}.{secrets.token_hex(8)}{PARTIAL}")
            try:
                self.system.pipe_file(partial, content)
                self.system.mv(partial, self._path(name))
            except BaseException:
                self._remove(partial)
                raise

    def remove(self, name: str) -> None:
        with self._failing("remove", name):
            self._remove(self._path(name))

    def names(self) -> tuple[str, ...]:
        with self._failing("list", ""):
            try:
                found = self.system.ls(self.folder, detail=False)
            except FileNotFoundError:
                return ()
        return tuple(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def close(self) -> None:
        if not self.is_own:
            return
        with self._failing("remove", ""):
            for name in self.names():
                if name.endswith(PARTIAL):  # of a process that was killed while it wrote
                    self._remove(self._path(name))
            if self.system.isdir(self.folder) and not self.names():  # object stores have no folders
                self.system.rmdir(self.folder)

    def _path(self, name: str) -> str:
        return f"{self.folder.rstrip('/')}/{name}"

    def _info(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.system.info(self._path(name))
        except FileNotFoundError:
            return None
        if found.get("type") != "file":  # reading a pipe would wait for ever
            raise ExchangeError(f"{name[:12]} in {self.where} is no file but a {found.get('type')}; remove it")
        return found

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self.system.rm_file(path)

    @contextmanager
    def _failing(self, what: str, name: str) -> Iterator[None]:
        """Each file system fails in ways of its own."""
        try:
            yield
        except ExchangeError:
            raise
        except Exception as error:
            reason = shown(str(error)) or type(error).__name__
            kind = ExchangeError if isinstance(error, PermissionError) else Away
            raise kind(f"the exchange {self.where} cannot {what} {name[:12] or 'its contents'}: {reason}") from error


def open_filesystem(url: str, scope: str) -> Filesystem:
    """The folder `scope` below an fsspec URL."""
    import fsspec

    if "::" in url:
        raise ExchangeError(f"the exchange's URL {quoted(url)} chains file systems; name the one the contents lie in")
    try:
        # listings that fsspec remembers would hide what others put and removed
        system, folder = fsspec.url_to_fs(url, use_listings_cache=False)
    except Exception as error:  # an unknown protocol, a package that is missing, a URL it cannot read
        raise ExchangeError(f"the exchange's URL {quoted(url)} cannot be used: {shown(str(error))}") from error
    kinds = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
    return Filesystem(system, os.path.join(folder, scope) if scope else folder, bool(kinds & RENAMING), bool(scope))
