"""What `fedquad up` keeps running on this machine: Prefect's server, MLflow's server and a worker for campaigns; how each is started.

Passwords are drawn once and reach the processes by their environment and by files of mode 600, never by a command line.
"""

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fedquad.errors import SpecError, quoted
from fedquad.store import files
from fedquad.store.campaign import home
from fedquad.store.servers import Servers, environment, read_servers, write_servers
from fedquad.store.shape import typed
from flows.guard import is_loopback
from flows.settings import QUIET

USER = "fedquad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the servers listen and keep what they know; kept for the next `fedquad up`."""

    host: str = "127.0.0.1"
    port: int = 4200
    mlflow_port: int = 5000
    database_url: str = ""  # Prefect's; empty means SQLite in the home

    @property
    def near(self) -> str:
        """The host by which this machine reaches them."""
        return "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host


SHAPE = {"host": str, "port": int, "mlflow_port": int, "database_url": str}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One process: how it is started, and where it says that it is well."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    health: str = ""


def folder() -> Path:
    """Where records, logs and settings of the servers lie."""
    return home() / "servers"


def place(**asked: Any) -> Place:
    """What was asked for, else what was the last time, else the defaults."""
    path = folder() / "place.json"
    before = typed(files.read_json(path), SHAPE, path) if path.exists() else {}
    chosen = {
        **{key: before[key] for key in SHAPE if key in before},
        **{k: v for k, v in asked.items() if v is not None},
    }
    return Place(**chosen)


def credentials(at: Place) -> Servers:
    """The passwords that there are, or new ones, with the addresses of now; written down."""
    old = read_servers()
    password = old.mlflow_password if old else secrets.token_urlsafe(24)
    found = Servers(
        prefect_url=f"http://{at.near}:{at.port}/api",
        prefect_auth=old.prefect_auth if old else f"{USER}:{secrets.token_urlsafe(24)}",
        mlflow_url=f"http://{at.near}:{at.mlflow_port}",
        mlflow_user=old.mlflow_user if old else USER,
        mlflow_password=password,
    )
    if found != old:
        write_servers(found)
    return found


def services(at: Place, opened: Servers) -> tuple[Service, ...]:
    """The three processes, in the order in which they are started."""
    quiet = {**QUIET, "PREFECT_HOME": str(prefect_home())}
    return (
        Service(
            name="prefect",
            command=(
                *(sys.executable, "-m", "uvicorn", "--app-dir", str(Path(__file__).parents[1])),
                *("--factory", "flows.lasting_app:create_app", "--host", at.host, "--port", str(at.port)),
                *("--log-level", "warning", "--lifespan", "on", "--timeout-graceful-shutdown", "3"),
            ),
            environment={
                **quiet,
                "PREFECT_SERVER_API_AUTH_STRING": opened.prefect_auth,
                "PREFECT_SERVER_UI_API_URL": "/api",  # relative to the page: any port, any name, behind any proxy
                "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{at.near}:{at.port}",
                "FEDQUAD_ALLOWED_HOSTS": "127.0.0.1,localhost" if is_loopback(at.host) else "*",
                **({"PREFECT_SERVER_DATABASE_CONNECTION_URL": at.database_url} if at.database_url else {}),
            },
            health=f"{opened.prefect_url}/health",
        ),
        Service(
            name="mlflow",
            command=(
                *(sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"),
                *("--host", at.host, "--port", str(at.mlflow_port)),
                *("--backend-store-uri", f"sqlite:///{home() / 'mlflow.db'}"),
                *("--artifacts-destination", str(home() / "mlartifacts")),
            ),
            environment={
                **quiet,
                "MLFLOW_AUTH_CONFIG_PATH": str(folder() / "mlflow-auth.ini"),
                "MLFLOW_AUTH_ADMIN_USERNAME": opened.mlflow_user,
                "MLFLOW_AUTH_ADMIN_PASSWORD": opened.mlflow_password,
                "MLFLOW_FLASK_SERVER_SECRET_KEY": _secret_key(),
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a second process of 240 MB for jobs that nobody here starts
            },
            health=f"{opened.mlflow_url}/health",
        ),
        Service(
            name="worker",
            command=(sys.executable, "-m", "flows.campaign_worker"),
            environment={
                **quiet,
                **environment(opened),
                "PREFECT_WORKER_QUERY_SECONDS": "2",
                "PREFECT_LOGGING_LEVEL": "INFO",
            },
        ),
    )


def prefect_home() -> Path:
    return Path(os.environ.get("PREFECT_HOME", home() / "prefect"))


def check_database(url: str, is_on_command_line: bool) -> None:
    """Refuse what is no Postgres that Prefect can use, and a password where every user of this machine can read it."""
    parts = urlsplit(url)
    if parts.scheme != "postgresql+asyncpg":
        raise SpecError(
            f"--database-url begins with {quoted(parts.scheme)}, but Prefect needs postgresql+asyncpg://user@host/database"
        )
    if parts.password and is_on_command_line:
        raise SpecError(
            "--database-url holds a password, which everybody on this machine can read in a command line; set FEDQUAD_DATABASE_URL "
            "instead, or leave it out and put it into ~/.pgpass"
        )


def private_folder(path: Path) -> None:
    try:
        files.make_folder(path)
        path.chmod(0o700)
    except OSError as error:
        raise files.disk_error(error, path) from error


def _secret_key() -> str:
    """The key that MLflow seals its sign-up form with; the same one at each start."""
    path = folder() / "mlflow-key"
    if not path.exists():
        files.write_bytes(path, secrets.token_urlsafe(32).encode(), mode=0o600)
    return files.read_bytes(path, 1000).decode()


def write_mlflow_config() -> None:
    """MLflow's rules: whoever has no password of its own sees nothing; passwords are checked once a minute, not at each request."""
    text = (
        "[mlflow]\n"
        "default_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{home() / 'mlflow-users.db'}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n"
    )
    files.write_bytes(folder() / "mlflow-auth.ini", text.encode(), mode=0o600)
