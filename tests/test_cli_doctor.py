"""`fedquad doctor`: what it finds here, and what it says of what is missing."""

from pathlib import Path
from typing import Any

import handmade
import pytest
from commands import fedquad

from fedquad.cli import doctor


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: Any) -> None:
    handmade.home_is(tmp_path, monkeypatch)


def test_all_is_well_where_these_tests_run(capsys: Any, monkeypatch: Any) -> None:
    said = fedquad(capsys, monkeypatch, "doctor", "--json")
    assert said.code == 0, said
    found = {finding["name"]: finding["state"] for finding in said.document["findings"]}
    assert set(found) == {"python", "torch", "transformers", "prefect", "mlflow", "fastapi", "FEDQUAD_HOME", "servers"}
    assert said.document["environment"]["machine"]


def test_a_home_that_cannot_be_written_is_broken_and_says_what_to_do(monkeypatch: Any) -> None:
    monkeypatch.setenv("FEDQUAD_HOME", "/proc/fedquad")
    finding = doctor._home()
    assert (finding.state, "set it to a folder" in finding.advice) == ("broken", True)


def test_a_server_that_does_not_answer_is_noted(monkeypatch: Any) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    finding = doctor._servers()
    assert (finding.state, "MLFLOW_TRACKING_URI" in finding.found) == ("note", True)


def test_a_package_that_dies_on_import_is_told_by_its_last_line() -> None:
    failure, _ = doctor._ask("raise RuntimeError('the wheel is for another processor')")
    assert failure == "RuntimeError: the wheel is for another processor"


def test_what_is_broken_ends_in_one_line_and_its_exit_code(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (doctor._python, doctor._fastapi))
    monkeypatch.setattr(doctor, "FASTAPI_BROKEN", (0, 0))  # every version is too new
    said = fedquad(capsys, monkeypatch, "doctor")
    assert said.code == 11
    assert said.err.count("\n") == 1
    assert "fastapi<0.151" in said.err
