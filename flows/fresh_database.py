"""Prefect's tables laid down at once in a home that has none: its own hundred migrations are more than half of a first start.

    python -m flows.fresh_database        # writes prefect_schema.sql anew, after another Prefect was pinned

The file is what those migrations come to, for one version of Prefect (a test compares); with any other version Prefect migrates as ever.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

SCHEMA = Path(__file__).with_name("prefect_schema.sql")
FIRST_LINE = "-- prefect "


def lay(prefect_home: Path) -> bool:
    """Make prefect.db if there is none and the schema is of the installed version; returns whether it did."""
    there, text = prefect_home / "prefect.db", SCHEMA.read_text()
    is_elsewhere = (
        "PREFECT_SERVER_DATABASE_CONNECTION_URL" in os.environ or "PREFECT_API_DATABASE_CONNECTION_URL" in os.environ
    )
    if is_elsewhere or there.exists() or text.splitlines()[0] != FIRST_LINE + version("prefect"):
        return False
    prefect_home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=prefect_home) as folder:
        made = Path(folder) / "prefect.db"
        with sqlite3.connect(made) as database:
            database.executescript(text)
        database.close()
        try:
            os.link(made, there)  # whole or not at all, and never over another's
        except OSError:  # there is one now, or no link can be made there: Prefect migrates
            return False
    return True


def dump(path: Path) -> str:
    """A database's tables and indexes, and which migration they are of, as SQL."""
    with sqlite3.connect(path) as database:
        made = database.execute("select sql from sqlite_master where sql is not null and name not like 'sqlite_%' order by rowid")  # fmt: skip
        statements = [f"{sql};" for (sql,) in made]
        (head,) = database.execute("select version_num from alembic_version").fetchone()
    database.close()
    statements.append(f"INSERT INTO alembic_version VALUES ('{head}');")
    return "\n".join([FIRST_LINE + version("prefect"), *statements, ""])


def migrated(folder: Path) -> Path:
    """A database that Prefect's own migrations made, below a folder that holds none."""
    settings = {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
    }
    code = "import asyncio; from prefect.server.database import provide_database_interface as db; asyncio.run(db().create_db())"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **settings}, check=True)
    return folder / "prefect.db"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        SCHEMA.write_text(dump(migrated(Path(folder))))


if __name__ == "__main__":
    main()
