"""The routes of MLflow's artifact proxy that an exchange uses, in a small server that can be told to misbehave."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

ROUTE = "/api/2.0/mlflow-artifacts/artifacts"


class Artifacts(ThreadingHTTPServer):
    """Contents by path, what was asked, and what to do instead of answering the next GETs of a content."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, login: str = "") -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.contents: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.login = login
        self.faults: list[Callable[[Handler, bytes], None]] = []
        self.listing = b""  # said in place of what there is

    @property
    def url(self) -> str:
        return f"mlflow+http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Artifacts

    def do_PUT(self) -> None:
        if self._is_let_in():
            self.server.contents[self._path()] = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(200)

    def do_DELETE(self) -> None:
        if self._is_let_in():
            for path in [path for path in self.server.contents if f"{path}/".startswith(f"{self._path()}/")]:
                del self.server.contents[path]
            self.answer(200, b"{}")

    def do_GET(self) -> None:
        if not self._is_let_in():
            return
        if self._path() == "":
            (folder,) = parse_qs(urlsplit(self.path).query)["path"]
            names = [path.removeprefix(f"{folder}/") for path in self.server.contents if path.startswith(f"{folder}/")]
            files = [{"path": name, "is_dir": False} for name in names]
            self.answer(200, self.server.listing or json.dumps({"files": files}).encode())
            return
        content = self.server.contents.get(self._path())
        is_probe = self.headers["Range"] == "bytes=0-0"
        if content is None:
            self.answer(404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}')
        elif is_probe and not content:
            self.answer(416, b"", {"Content-Range": "bytes */0"})
        elif is_probe:
            self.answer(206, content[:1], {"Content-Range": f"bytes 0-0/{len(content)}"})
        elif self.server.faults:
            self.server.faults.pop(0)(self, content)
        else:
            self.answer(200, content)

    def answer(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _is_let_in(self) -> bool:
        self.server.asked.append(f"{self.command} {self.path.rpartition('/')[2]}")
        wanted = f"Basic {base64.b64encode(self.server.login.encode()).decode()}"
        if self.server.login and self.headers["Authorization"] != wanted:
            self.answer(401)
            return False
        if not self.path.startswith(ROUTE):
            self.answer(404)
            return False
        return True

    def _path(self) -> str:
        return unquote(urlsplit(self.path).path.removeprefix(ROUTE)).strip("/")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@contextmanager
def serving(port: int = 0, login: str = "") -> Iterator[Artifacts]:
    with Artifacts(port, login) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
