"""The file of addresses and passwords: its owner's alone, written whole or not at all, read or refused in a line without a password in it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fedquad.errors import StoreError
from fedquad.store import files
from fedquad.store.servers import SHAPE, Servers, environment, into, read_servers, write_servers

SECRET = "s3cr3t-of-a-test"
OURS = Servers(
    prefect_url="http://127.0.0.1:4200/api",
    prefect_auth=f"fedquad:{SECRET}",
    mlflow_url="http://127.0.0.1:5000",
    mlflow_user="fedquad",
    mlflow_password=SECRET,
)


def test_what_is_written_is_read_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = write_servers(OURS, tmp_path / "home" / "credentials.json")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_servers(path) == OURS


def test_the_file_of_the_home_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDQUAD_HOME", str(tmp_path))
    assert read_servers() is None
    assert write_servers(OURS) == tmp_path / "credentials.json"
    assert read_servers() == OURS


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666])
def test_a_file_that_others_may_read_or_write_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    path = write_servers(OURS, tmp_path / "credentials.json")
    path.chmod(mode)
    with pytest.raises(StoreError, match=r"its mode is .*`chmod 600 ") as refused:
        read_servers(path)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x00\xff", b"[]", b"nonsense", b"{}", b"[" * 100_000, b"x" * 2**15, json.dumps(dict.fromkeys(SHAPE, 1)).encode(),
        json.dumps(dict.fromkeys(SHAPE, SECRET)).encode(), json.dumps({**dict.fromkeys(SHAPE, "a:b"), "prefect_url": f"http://u:{SECRET}@host/api"}).encode(),
    ],
)  # fmt: skip
def test_garbage_is_refused_in_a_line_without_a_password(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "credentials.json"
    files.write_bytes(path, content, mode=0o600)
    with pytest.raises(StoreError) as refused:
        read_servers(path)
    assert "\n" not in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefect_url": "ftp://host"},
        {"mlflow_url": "host:5000"},
        {"mlflow_url": "http://user:password@host"},
        {"prefect_url": "http://host:99999/api"},
        {"prefect_auth": "nobody"},
        {"prefect_auth": ":password"},
        {"mlflow_password": ""},
        {"mlflow_password": "two\nlines"},
        {"mlflow_user": "x" * 3000},
    ],
)
def test_what_no_client_could_use_is_not_written(tmp_path: Path, wrong: dict[str, Any]) -> None:
    given = {name: getattr(OURS, name) for name in SHAPE}
    with pytest.raises(StoreError):
        write_servers(Servers(**{**given, **wrong}), tmp_path / "credentials.json")
    assert not (tmp_path / "credentials.json").exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    write_servers(OURS, tmp_path / "elsewhere.json")
    (tmp_path / "credentials.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(StoreError):
        read_servers(tmp_path / "credentials.json")


def test_no_representation_shows_a_password() -> None:
    assert SECRET not in f"{OURS} {OURS!r}"


def test_clients_get_both_addresses_and_passwords() -> None:
    assert environment(OURS) == {
        "PREFECT_API_URL": "http://127.0.0.1:4200/api",
        "PREFECT_API_AUTH_STRING": f"fedquad:{SECRET}",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
        "MLFLOW_TRACKING_USERNAME": "fedquad",
        "MLFLOW_TRACKING_PASSWORD": SECRET,
    }


def test_a_password_goes_to_no_address_but_its_own() -> None:
    environ = {"PREFECT_API_URL": "http://other:4200/api"}
    into(environ, OURS, ["PREFECT_API_URL"])
    into(environ, None)
    assert environ == {"PREFECT_API_URL": "http://other:4200/api"}
    environ["MLFLOW_TRACKING_USERNAME"] = "me"
    into(environ, OURS)
    assert environ == {
        "PREFECT_API_URL": "http://other:4200/api",
        "MLFLOW_TRACKING_URI": OURS.mlflow_url,
        "MLFLOW_TRACKING_USERNAME": "me",
        "MLFLOW_TRACKING_PASSWORD": SECRET,
    }
