"""Adapters on their way between machines: a content lies under the SHA-256 of its bytes, so that each is sent once and
nobody can be given another.

    exchange = open_exchange("mlflow+https://fleet.example:5000", scope="campaign-7", user="agx-07", password=...)
    digest = exchange.put(content)                 # "9f86d081..."; not sent again if it is there
    exchange.get(digest, most=2_000_000) == content
    exchange.keep_only([digest])                   # whatever else the scope holds goes

A URL is one of fsspec's (a folder's path, memory://, s3://bucket/folder, sftp://...), or mlflow+http:// and
mlflow+https://, the artifact proxy of an MLflow server (artifact_proxy.py).
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from fedquad.errors import ExchangeError, quoted
from fedquad.exchange.artifact_proxy import open_proxy
from fedquad.exchange.filesystem import open_filesystem
from fedquad.exchange.medium import Medium
from fedquad.spec import NAME, NAMED

DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Exchange:
    """Contents by digest in one scope of a medium. Keeps no state: threads and processes may share a scope."""

    medium: Medium

    def put(self, content: bytes) -> str:
        """Lay a content down, unless one of its digest and size is there, and return its digest."""
        digest = hashlib.sha256(content).hexdigest()
        if self.medium.size(digest) != len(content):
            self.medium.write(digest, content)
        return digest

    def get(self, digest: str, most: int) -> bytes:
        """Return the content of a digest; one of more than `most` bytes, or other than the digest says, is refused."""
        content = self.medium.read(_checked(digest), most)
        if content is None:
            raise ExchangeError(f"{digest[:12]} is not in {self.medium.where}: never put there, or removed since")
        if (found := hashlib.sha256(content).hexdigest()) != digest:
            raise ExchangeError(
                f"{digest[:12]} in {self.medium.where} is damaged: its {len(content)} bytes have digest {found[:12]}"
            )
        return content

    def drop(self, digests: Iterable[str]) -> None:
        """Remove these contents; one that is not there is no failure."""
        for digest in digests:
            self.medium.remove(_checked(digest))

    def keep_only(self, digests: Iterable[str]) -> None:
        """Remove all contents of the scope but these."""
        kept = {_checked(digest) for digest in digests}
        self.drop(name for name in self.medium.names() if DIGEST.fullmatch(name) and name not in kept)

    def clear(self) -> None:
        """Remove the scope with all its contents."""
        self.keep_only(())
        self.medium.close()


def open_exchange(url: str, *, scope: str = "", user: str = "", password: str = "") -> Exchange:
    """Name a place for contents; nothing is read or written yet.

    `scope` keeps a campaign's contents apart, so that all of them can be removed. User and password are for
    mlflow+http(s); other media find their own credentials, as fsspec documents.
    """
    if scope and not NAME.fullmatch(scope):
        raise ExchangeError(f"an exchange's scope cannot be {quoted(scope)}: {NAMED}")
    if not url:
        raise ExchangeError(
            "the exchange's URL is empty; it names a folder, or another place that fsspec or MLflow has"
        )
    try:
        parts = urlsplit(url)
        is_proxy, has_secret = parts.scheme in ("mlflow+http", "mlflow+https"), parts.password is not None
    except ValueError as error:
        raise ExchangeError(f"the exchange's URL cannot be read: {error}") from error
    if has_secret:
        raise ExchangeError("the exchange's URL holds a password; URLs are logged, so give user and password apart")
    return Exchange(open_proxy(parts, scope, user, password) if is_proxy else open_filesystem(url, scope))


def _checked(digest: str) -> str:
    """The digest, which becomes the last part of a path and nothing else."""
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ExchangeError(f"a content's digest is 64 hex digits, but {quoted(digest)} came")
    return digest
