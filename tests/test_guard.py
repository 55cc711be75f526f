"""An API that anyone can reach is refused. Real HTTP servers answer here, on loopback and on this machine's other address."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from fedquad.errors import ServiceError
from flows.guard import check_api, is_loopback


@contextmanager
def answering(host: str, code: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer((host, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{host}:{server.server_port}/api"
    server.shutdown()


def own_address() -> str:
    """This machine's address on its network, without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address besides loopback")
        return str(probe.getsockname()[0])


def test_loopback_needs_no_password() -> None:
    with answering("127.0.0.1", 200) as url:
        check_api(url)


def test_an_open_api_beyond_this_machine_is_refused() -> None:
    with answering(own_address(), 200) as url, pytest.raises(ServiceError, match="asks for no password"):
        check_api(url)


def test_an_api_that_asks_for_a_password_is_fine() -> None:
    with answering(own_address(), 401) as url:
        check_api(url)


def test_an_api_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ServiceError, match="does not answer"):
        check_api("http://127.0.0.1:9/api")
    with pytest.raises(ServiceError, match="does not answer"):
        check_api("nonsense")
    with answering("127.0.0.1", 404) as url, pytest.raises(ServiceError, match="answers 404"):
        check_api(url)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), ("example.org", False)],
)
def test_what_counts_as_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
