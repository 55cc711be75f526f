"""Two of a server's transactions that read and then write: as Prefect begins them one is refused at once, as we do each has its turn."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, sys
import sqlalchemy as sa
from flows import one_writer
from prefect.server.database import provide_database_interface

async def count(db, seconds):
    async with db.session_context(begin_transaction=True) as session:
        known = (await session.execute(sa.text("select count(*) from counted"))).scalar_one()
        await asyncio.sleep(seconds)
        await session.execute(sa.text("insert into counted values (:known)"), {"known": known})

async def main():
    if sys.argv[1] == "ours":
        one_writer.wait_for_it()
    db = provide_database_interface()
    async with db.session_context(begin_transaction=True) as session:
        await session.execute(sa.text("create table counted (known integer)"))
    await asyncio.gather(count(db, 1.0), count(db, 0.1))
    async with db.session_context() as session:
        print(sorted((await session.execute(sa.text("select known from counted"))).scalars()))

asyncio.run(main())
"""


@pytest.mark.parametrize("whose", ["prefect", "ours"])
def test_who_begins_to_write_waits_for_the_other(tmp_path: Path, whose: str) -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    url = f"sqlite+aiosqlite:///{tmp_path / 'counted.db'}"
    env = {**clean, "PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_DATABASE_CONNECTION_URL": url}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, whose], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    if whose == "ours":
        assert (done.returncode, done.stdout) == (0, "[0, 1]\n"), done.stderr
    else:  # so that nobody keeps our way for a Prefect that does not need it
        assert "database is locked" in done.stderr
