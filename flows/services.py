"""What `fedquad up` keeps running on this machine: Prefect's server, MLflow's server and a worker for campaigns.

Each is a process of its own that outlives the command. Passwords are drawn once and reach the processes by their environment and by
files of mode 600, never by a command line. Standard library only: the command that starts them imports neither prefect nor mlflow,
so that it waits for nothing but them.
"""

import base64
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fedquad.errors import ServiceError, SpecError, quoted
from fedquad.store import files, processes
from fedquad.store.campaign import home
from fedquad.store.processes import MARK, Started, started
from fedquad.store.servers import Servers, credentials_path, environment, read_servers, write_servers
from fedquad.store.shape import typed
from flows import fresh_database
from flows.guard import answers, is_loopback
from flows.settings import QUIET

USER = "fedquad"
PATIENCE_SECONDS = 600.0  # it takes 15 on an idle machine; a process that has died is noticed at once
GRACE_SECONDS = {
    "worker": 20.0,
    "prefect": 5.0,
    "mlflow": 5.0,
}  # the worker first: Prefect should hear how its run ended
CLIENTS = ("PREFECT_API_", "MLFLOW_TRACKING_")  # what clients read: a server has no business with it
LOG_TAIL = 2000


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


def up(at: Place, tell: Any = None) -> dict[str, Any]:
    """Start what does not run yet and wait until all of it is well; returns the status."""
    _private_folder(folder())
    running = processes.read(folder())
    opened = credentials(at)
    _write_mlflow_config()
    files.write_json(folder() / "place.json", asdict(at), mode=0o600)
    wanted = services(at, opened)
    for service in wanted:
        if service.name not in running and service.health:
            _refuse_taken(at.near, urlsplit(service.health).port or 0, service.name)
    if not at.database_url:
        fresh_database.lay(prefect_home())
    for service in wanted:
        if service.name not in running:
            running[service.name] = _start(service)
            processes.write(folder(), running)
    _wait(wanted, running, opened, tell or _silent)
    return status()


def down() -> list[str]:
    """End the three and all that they started; returns the names of those that ran."""
    return processes.end(folder(), GRACE_SECONDS)


def status() -> dict[str, Any]:
    """What runs, where, and whether it is well: one document."""
    at, running, opened = place(), processes.read(folder()), read_servers()
    rows = []
    for name, url in (
        ("prefect", opened and opened.prefect_url),
        ("mlflow", opened and opened.mlflow_url),
        ("worker", ""),
    ):
        one = running.get(name)
        health = f"{url}/health" if url else ""
        well = one is not None and (answers(health) if health else bool(opened and _workers(opened).get("campaigns")))
        rows.append(
            {
                "name": name,
                "state": "stopped" if one is None else "running" if well else "starting",
                "url": (url or "").removesuffix("/api"),
                "pid": one.pid if one else None,
                "uptime_seconds": processes.uptime(one) if one else None,
                "log": str(folder() / f"{name}.log"),
            }
        )
    return {
        "servers": rows,
        "pools": _workers(opened) if opened and rows[0]["state"] == "running" else {},
        "credentials": str(credentials_path()) if opened else None,
        "database": "postgres" if at.database_url else "sqlite",
        "cpu_seconds": processes.cpu_seconds(folder()),
    }


def wait_for(url: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return once a server is well."""
    end = time.monotonic() + seconds
    while not answers(url):
        if time.monotonic() > end:
            raise ServiceError(f"{url} did not answer within {seconds:.0f} s; `fedquad up --status` says what runs")
        time.sleep(0.2)


def _wait(wanted: tuple[Service, ...], running: Mapping[str, Started], opened: Servers, tell: Any) -> None:
    """Return once all are well; one that ends before is an error with what it said last."""
    end, missing = time.monotonic() + PATIENCE_SECONDS, {service.name: service for service in wanted}
    while missing:
        for name, service in list(missing.items()):
            if running[name].process() is None:
                raise ServiceError(
                    f"{name} ended at once: {_last_words(name)}; all of it is in {folder() / f'{name}.log'}"
                )
            if (
                answers(service.health)
                if service.health
                else "prefect" not in missing and _workers(opened).get("campaigns")
            ):
                tell(f"{name} is well")
                del missing[name]
        if time.monotonic() > end:
            raise ServiceError(
                f"{', '.join(missing)} did not answer within {PATIENCE_SECONDS:.0f} s; the logs are in {folder()}; `fedquad down` ends what runs"
            )
        time.sleep(0.2)


def _start(service: Service) -> Started:
    """Start one process that outlives this one, its log beside the record."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(CLIENTS)}
    given = {**clean, **service.environment, "FEDQUAD_HOME": str(home()), MARK: str(folder())}
    log = os.open(folder() / f"{service.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        process = subprocess.Popen(
            service.command,
            env=given,
            cwd=home(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # neither Ctrl-C nor the end of a terminal is for them
            umask=0o077,  # what they write is for their owner
        )
    finally:
        os.close(log)
    return started(service.name, process.pid)


def _last_words(name: str) -> str:
    """The last line that says something, of a process that ended."""
    with contextlib.suppress(OSError):
        text = (folder() / f"{name}.log").read_bytes()[-LOG_TAIL:].decode(errors="replace")
        lines = [line for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if "rror" in line]
        if lines:
            return (errors or lines)[-1].strip()[:300]
    return "it said nothing"


def _refuse_taken(host: str, port: int, name: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(1.0)
        if probe.connect_ex((host, port)) == 0:
            option = "--port" if name == "prefect" else "--mlflow-port"
            raise ServiceError(
                f"port {port} of {host} is taken by a program that `fedquad up` did not start; end it, or choose another {option} for {name}"
            )


def _private_folder(path: Path) -> None:
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


def _write_mlflow_config() -> None:
    """MLflow's rules: whoever has no password of its own sees nothing; passwords are checked once a minute, not at each request."""
    text = (
        "[mlflow]\n"
        "default_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{home() / 'mlflow-users.db'}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n"
    )
    files.write_bytes(folder() / "mlflow-auth.ini", text.encode(), mode=0o600)


def _workers(opened: Servers) -> dict[str, int]:
    """Workers online in each pool that there is."""
    try:
        pools = _post(opened, "/work_pools/filter", {})
        return {
            pool["name"]: sum(
                one["status"] == "ONLINE" for one in _post(opened, f"/work_pools/{pool['name']}/workers/filter", {})
            )
            for pool in pools
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _post(opened: Servers, path: str, body: Mapping[str, Any]) -> Any:
    request = urllib.request.Request(f"{opened.prefect_url}{path}", data=json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Basic {base64.b64encode(opened.prefect_auth.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def _silent(line: str) -> None:
    """Nobody listens."""


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
