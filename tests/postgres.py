"""A PostgreSQL of one's own for tests: a cluster in a temporary folder, on a loopback port, owned by a user that may run it."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.server import free_port

PROGRAMS = ("initdb", "pg_ctl", "psql")
USER = "postgres"  # which Debian's package makes; PostgreSQL refuses to run as root


def binaries() -> Path | None:
    """Where PostgreSQL's programs are, all together; Debian keeps them off the PATH."""
    places = [*map(Path, os.get_exec_path()), *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return next((place for place in places if all((place / name).exists() for name in PROGRAMS)), None)


def why_not() -> str:
    """Why no cluster can be made here; empty where one can."""
    if binaries() is None:
        return "there is no PostgreSQL here (no folder of the PATH or below /usr/lib/postgresql has initdb, pg_ctl and psql); apt-get install postgresql"
    if os.geteuid() == 0 and USER not in {one.pw_name for one in pwd.getpwall()}:
        return f"PostgreSQL does not run as root, and there is no user {USER!r}"
    return ""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server with a database of its own user's."""

    folder: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """As Prefect names it, without the password."""
        return f"postgresql+asyncpg://fedquad@127.0.0.1:{self.port}/prefect"

    @property
    def with_password(self) -> str:
        return self.url.replace("fedquad@", f"fedquad:{self.password}@")

    def ask(self, query: str) -> str:
        return _run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "fedquad", "-d", "prefect", "-Atc", query, env={"PGPASSWORD": self.password})  # fmt: skip


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster that runs, with the user fedquad, who owns the database prefect and nothing else; removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="fq-pg"))
    made = Cluster(folder, free_port(), secrets.token_urlsafe(16))
    if os.geteuid() == 0:
        shutil.chown(folder, USER)
    try:
        _run("initdb", "-D", str(folder / "data"), "--auth=trust", "--no-sync")
        options = f"-h 127.0.0.1 -p {made.port} -c unix_socket_directories= -c fsync=off"
        _run("pg_ctl", "-D", str(folder / "data"), "-l", str(folder / "log"), "-w", "-o", options, "start")
        try:
            address = ("-h", "127.0.0.1", "-p", str(made.port), "-d", "postgres", "-c")
            _run("psql", *address, f"create user fedquad password '{made.password}'")
            _run("psql", *address, "create database prefect owner fedquad")
            rules = folder / "data" / "pg_hba.conf"
            rules.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
            _run("pg_ctl", "-D", str(folder / "data"), "reload")
            yield made
        finally:
            _run("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(program: str, *arguments: str, env: dict[str, str] | None = None) -> str:
    place = binaries()
    assert place is not None
    as_user = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
    given = [f"{key}={value}" for key, value in (env or {}).items()]
    done = subprocess.run(
        [*as_user, "env", *given, str(place / program), *arguments], cwd="/", stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout.strip()
