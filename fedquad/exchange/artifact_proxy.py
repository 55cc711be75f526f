"""Contents below an MLflow server's artifact proxy, over plain HTTP: a device needs no mlflow for it.

    mlflow+http://127.0.0.1:5000                    below fedquad-exchange/SCOPE/
    mlflow+https://fleet.example/mlflow?experiment=7  below 7/fedquad-exchange/SCOPE/: whoever may edit experiment 7

    GET, PUT, DELETE  api/2.0/mlflow-artifacts/artifacts/FOLDER/DIGEST
    GET               api/2.0/mlflow-artifacts/artifacts?path=FOLDER

MLflow decides by the experiment at the head of a path who may read (READ), write (EDIT) and remove (MANAGE); a path
without one falls under the server's default permission. What it stores locally it writes aside and renames.
"""

import base64
import http.client
import io
import json
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import SplitResult, parse_qs, quote

from fedquad.errors import ExchangeError, quoted, shown
from fedquad.exchange.medium import Away, too_large

ROUTE = "api/2.0/mlflow-artifacts/artifacts"
ROOT = "fedquad-exchange"
PIECE = 1 << 20  # bytes read at a time
MOST_SAID = 1 << 12  # bytes read of an answer that says why not
MOST_LISTED = 1 << 26
CONNECT_SECONDS, QUIET_SECONDS = 10.0, 30.0  # to connect; without a byte in either direction
PATIENCE_SECONDS = 8.0  # for a server that is restarted
BUSY = (429, 502, 503, 504)  # of the server, or of a proxy before it
Headers = Mapping[str, str]


class _Gone(Exception):
    """The server went away, or was never there: worth another try."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: the content where one was asked for, or why there is none."""

    status: int
    headers: Message
    length: int | None  # declared, less what was read
    content: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactProxy:
    """A folder behind an MLflow server."""

    is_secure: bool
    host: str
    port: int
    prefix: str  # of the server's own paths
    folder: str
    headers: Headers = field(repr=False)  # a password is in them
    patience_seconds: float = PATIENCE_SECONDS

    @property
    def where(self) -> str:
        return f"the artifacts of {self.host}:{self.port} ({self.folder})"

    def size(self, name: str) -> int | None:
        """Ask for one byte; the answer's Content-Range says how many there are."""
        answer = self._ask("GET", self._path(name), headers={"Range": "bytes=0-0"})
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        if total.isdecimal():
            return int(total)
        return answer.length if answer.status == 200 else None  # a server that knows no ranges

    def read(self, name: str, most: int) -> bytes | None:
        answer = self._ask("GET", self._path(name), most=most)
        return None if answer.status == 404 else answer.content

    def write(self, name: str, content: bytes) -> None:
        if self._ask("PUT", self._path(name), content=content).status == 404:
            raise ExchangeError(f"{self.where} takes no contents: there is no {ROUTE}; is this an MLflow server?")

    def remove(self, name: str) -> None:
        self._ask("DELETE", self._path(name))

    def names(self) -> tuple[str, ...]:
        answer = self._ask("GET", f"{self.prefix}/{ROUTE}?path={quote(self.folder)}", most=MOST_LISTED)
        if answer.status == 404:
            return ()
        try:
            return tuple(str(file["path"]) for file in json.loads(answer.content).get("files", ()))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ExchangeError(f"{self.where} answered no list of artifacts; is this an MLflow server?") from error

    def close(self) -> None:
        self._ask("DELETE", f"{self.prefix}/{ROUTE}/{quote(self.folder)}")

    def _path(self, name: str) -> str:
        return f"{self.prefix}/{ROUTE}/{quote(self.folder)}/{name}"

    def _ask(
        self,
        method: str,
        path: str,
        *,
        headers: Headers | None = None,
        content: bytes | None = None,
        most: int | None = None,
    ) -> Answer:
        """One request, tried again for a while where the server is away; what is neither success nor 404 is an error.

        `most` is how much of a content is read; None: none of it.
        """
        until, pause = time.monotonic() + self.patience_seconds, 0.1
        while True:
            try:
                return self._accepted(method, self._try(method, path, headers or {}, content, most))
            except _Gone as gone:
                if time.monotonic() + pause > until:
                    raise Away(f"{self.where} cannot be reached: {gone}; is the server running?") from gone
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _accepted(self, method: str, answer: Answer) -> Answer:
        if answer.status in (200, 204, 206, 404, 416):  # 416: of a content of no bytes
            return answer
        if answer.status in (401, 403):
            raise ExchangeError(
                f"{self.where} refuses this user ({answer.status}); check name, password and permissions"
            )
        said = shown(answer.content.decode(errors="replace"))
        raise ExchangeError(f"{self.where} answered {answer.status} to {method}: {said or 'nothing more'}")

    def _try(self, method: str, path: str, headers: Headers, content: bytes | None, most: int | None) -> Answer:
        connection = self._connection()
        try:
            connection.connect()
            connection.sock.settimeout(QUIET_SECONDS)
            self._send(connection, method, path, {**self.headers, **headers}, content)
            response = connection.getresponse()
            if response.status in BUSY:
                raise _Gone(f"it answered {response.status}")
            said = b""
            if response.status >= 400:
                said = response.read(MOST_SAID)
            elif most is not None:
                said = self._content(response, most)
            return Answer(response.status, response.headers, response.length, said)
        except ssl.SSLCertVerificationError as error:
            raise ExchangeError(f"{self.where} shows no certificate to be trusted: {shown(str(error))}") from error
        except (OSError, http.client.HTTPException, UnicodeError) as error:  # UnicodeError: no such host name can be
            raise _Gone(shown(str(error)) or type(error).__name__) from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self.is_secure else http.client.HTTPConnection
        return kind(self.host, self.port, timeout=CONNECT_SECONDS, blocksize=PIECE)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, headers: Headers, content: bytes | None
    ) -> None:
        if content is None:
            connection.request(method, path, headers=dict(headers))
            return
        about = {"Content-Type": "application/octet-stream", "Content-Length": str(len(content))}
        with suppress(BrokenPipeError, ConnectionResetError):  # who refuses need not read on; its answer says why
            connection.request(method, path, body=io.BytesIO(content), headers={**headers, **about})

    def _content(self, response: http.client.HTTPResponse, most: int) -> bytes:
        """All of a content, in pieces, never more than `most` and one piece."""
        declared, pieces, size = response.length, [], 0
        if declared is not None and declared > most:
            raise too_large(self.where, str(declared), most)
        while piece := response.read(PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise too_large(self.where, f"over {most}", most)
        if declared is not None and size < declared:
            raise _Gone(f"it broke off after {size} of {declared} bytes")
        return b"".join(pieces)


def open_proxy(url: SplitResult, scope: str, user: str, password: str) -> ArtifactProxy:
    """The folder that a URL and a scope name."""
    try:
        host, port = url.hostname, url.port
        known = parse_qs(url.query, strict_parsing=bool(url.query))
    except ValueError as error:
        raise ExchangeError(f"the exchange's URL cannot be read: {error}") from error
    experiment = known.pop("experiment", [""])[0]
    if not host or known or (url.query and not experiment.isdecimal()):
        raise ExchangeError(
            f"the exchange's URL {quoted(url.geturl())} cannot be used: it is mlflow+http(s)://HOST[:PORT][/PREFIX][?experiment=NUMBER]"
        )
    is_secure = url.scheme == "mlflow+https"
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    return ArtifactProxy(
        is_secure=is_secure,
        host=host,
        port=port or (443 if is_secure else 80),
        prefix=quote(url.path.rstrip("/"), safe="/%"),
        folder="/".join(part for part in (experiment, ROOT, scope) if part),
        headers={"Authorization": f"Basic {login}"} if user else {},
    )
