"""`fedquad up`, `down` and `--status`: three processes that outlive the command, and whether they are well.

Standard library only: the command that starts them imports neither prefect nor mlflow, so that it waits for nothing but them.
"""

import base64
import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from fedquad.errors import ServiceError
from fedquad.store import files, processes
from fedquad.store.campaign import home
from fedquad.store.processes import MARK, Started, started
from fedquad.store.servers import Servers, credentials_path, read_servers
from flows import fresh_database
from flows.guard import answers
from flows.services import (
    Place,
    Service,
    credentials,
    folder,
    place,
    prefect_home,
    private_folder,
    services,
    write_mlflow_config,
)

PATIENCE_SECONDS = 600.0  # it takes 15 on an idle machine; a process that has died is noticed at once
GRACE_SECONDS = {
    "worker": 20.0,
    "prefect": 5.0,
    "mlflow": 5.0,
}  # the worker first: Prefect should hear how its run ended
CLIENTS = ("PREFECT_API_", "MLFLOW_TRACKING_")  # what clients read: a server has no business with it
LOG_TAIL = 2000


def up(at: Place, tell: Any = None) -> dict[str, Any]:
    """Start what does not run yet and wait until all of it is well; returns the status."""
    private_folder(folder())
    running = processes.read(folder())
    opened = credentials(at)
    write_mlflow_config()
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


def _workers(opened: Servers) -> dict[str, int]:
    """Workers online in each pool that there is."""
    try:
        pools = post(opened, "/work_pools/filter", {})
        return {
            pool["name"]: sum(
                one["status"] == "ONLINE" for one in post(opened, f"/work_pools/{pool['name']}/workers/filter", {})
            )
            for pool in pools
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def post(opened: Servers, path: str, body: Mapping[str, Any]) -> Any:
    request = urllib.request.Request(f"{opened.prefect_url}{path}", data=json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Basic {base64.b64encode(opened.prefect_auth.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def _silent(line: str) -> None:
    """Nobody listens."""
