"""`fedquad up` and `down` without a server: what is asked for, remembered, refused, and what clients are pointed at."""

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from commands import fedquad
from handmade import home_is

from fedquad.errors import ServiceError
from fedquad.store import files, processes
from fedquad.store.servers import Servers, read_servers, write_servers
from flows import services, settings
from flows.services import Place


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home_is(tmp_path / "home", monkeypatch)
    for key in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_URI", "FEDQUAD_DATABASE_URL"):
        monkeypatch.setenv(key, "")  # so that what a test sets goes again
        monkeypatch.delenv(key)
    return tmp_path / "home"


@pytest.fixture
def well() -> Iterator[int]:
    """A server that says it is well, by its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def test_a_home_without_servers_says_so(capsys: Any, monkeypatch: Any) -> None:
    found = fedquad(capsys, monkeypatch, "up", "--status", "--json").document
    assert {row["name"]: row["state"] for row in found["servers"]} == dict.fromkeys(
        ("prefect", "mlflow", "worker"), "stopped"
    )
    assert found["credentials"] is None
    assert "`fedquad up` starts them" in fedquad(capsys, monkeypatch, "up", "--status").out
    assert fedquad(capsys, monkeypatch, "down").out == "nothing of ours was running\n"


def test_what_was_asked_for_is_kept_for_the_next_time(home: Path) -> None:
    assert services.place() == Place()
    files.write_json(services.folder() / "place.json", asdict(services.place(port=4321, host="0.0.0.0")))
    assert services.place() == Place(host="0.0.0.0", port=4321)
    assert services.place(port=4200).host == "0.0.0.0"


def test_passwords_are_drawn_once_and_addresses_follow(home: Path) -> None:
    first = services.credentials(Place(port=4321))
    assert first.prefect_url == "http://127.0.0.1:4321/api"
    moved = services.credentials(Place(port=4322, host="0.0.0.0"))
    assert moved.prefect_url == "http://127.0.0.1:4322/api"
    assert (moved.prefect_auth, moved.mlflow_password) == (first.prefect_auth, first.mlflow_password)
    assert len(first.mlflow_password) >= 32
    assert read_servers() == moved


def test_no_command_line_holds_a_password_or_a_database(home: Path) -> None:
    at = Place(database_url="postgresql+asyncpg://fedquad:hidden@127.0.0.1/prefect")
    opened = services.credentials(at)
    services.private_folder(services.folder())
    for service in services.services(at, opened):
        line = " ".join(service.command)
        assert not any(word in line for word in (opened.mlflow_password, opened.prefect_auth, "hidden"))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql+asyncpg://fedquad:hidden@127.0.0.1/prefect", "everybody on this machine can read"),
        ("postgresql://fedquad@127.0.0.1/prefect", "postgresql+asyncpg://"),
        ("nonsense", "postgresql+asyncpg://"),
    ],
)
def test_a_database_that_would_not_do_is_refused(capsys: Any, monkeypatch: Any, url: str, reason: str) -> None:
    said = fedquad(capsys, monkeypatch, "up", "--database-url", url)
    assert said.code == 3
    assert reason in said.err
    assert "hidden" not in said.err


def test_a_database_in_the_environment_may_have_a_password() -> None:
    services.check_database("postgresql+asyncpg://fedquad:hidden@127.0.0.1/prefect", is_on_command_line=False)


def test_a_port_of_somebody_else_is_refused_before_anything_starts(capsys: Any, monkeypatch: Any, well: int) -> None:
    said = fedquad(capsys, monkeypatch, "up", "--port", str(well))
    assert said.code == ServiceError.exit_code
    assert f"port {well} of 127.0.0.1 is taken" in said.err
    assert "--port" in said.err
    assert not processes.read(services.folder())


def test_clients_find_servers_that_run(well: int) -> None:
    write_servers(servers(well))
    assert settings.find_servers() == []
    assert os.environ["PREFECT_API_AUTH_STRING"] == "fedquad:one"
    assert os.environ["MLFLOW_TRACKING_URI"] == f"http://127.0.0.1:{well}"


def test_servers_that_do_not_run_are_done_without_and_a_line_says_so() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        write_servers(servers(nobody.getsockname()[1]))
        (line,) = settings.find_servers()
    assert "`fedquad up` starts it" in line
    assert not {"PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_URI"} & set(os.environ)


def test_what_the_environment_names_comes_first(well: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write_servers(servers(well))
    monkeypatch.setenv("PREFECT_API_URL", "http://other/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    assert settings.find_servers() == []
    assert "PREFECT_API_AUTH_STRING" not in os.environ
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///mine.db"


def servers(port: int) -> Servers:
    return Servers(
        prefect_url=f"http://127.0.0.1:{port}/api",
        prefect_auth="fedquad:one",
        mlflow_url=f"http://127.0.0.1:{port}",
        mlflow_user="fedquad",
        mlflow_password="two",
    )
