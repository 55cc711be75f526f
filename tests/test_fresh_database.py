"""Prefect's tables laid down at once are those that its own migrations make, and a database that is there is left alone."""

import sqlite3
from importlib.metadata import version
from pathlib import Path

import pytest

from flows import fresh_database


def lines(schema: str) -> list[str]:
    """In an order of their own: the migrations' is that of sets, another one every time."""
    return sorted(line.rstrip(", ") for line in schema.splitlines())


def test_the_schema_is_what_the_migrations_of_the_installed_prefect_come_to(tmp_path: Path) -> None:
    (tmp_path / "migrated").mkdir()
    found = fresh_database.dump(fresh_database.migrated(tmp_path / "migrated"))
    assert lines(found) == lines(fresh_database.SCHEMA.read_text()), "run: python -m flows.fresh_database"


def test_a_home_without_a_database_gets_one(tmp_path: Path) -> None:
    assert fresh_database.lay(tmp_path)
    assert fresh_database.dump(tmp_path / "prefect.db") == fresh_database.SCHEMA.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["prefect.db"]


def test_a_database_that_is_there_is_left_alone(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "prefect.db").close()
    before = (tmp_path / "prefect.db").read_bytes()
    assert not fresh_database.lay(tmp_path)
    assert (tmp_path / "prefect.db").read_bytes() == before


@pytest.mark.parametrize("name", ["PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL"])
def test_nothing_is_laid_where_the_database_is_elsewhere(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "postgresql+asyncpg://prefect@localhost/prefect")
    assert not fresh_database.lay(tmp_path)


def test_another_version_of_prefect_migrates_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh_database, "version", lambda name: f"{version(name)}.1")
    assert not fresh_database.lay(tmp_path)
