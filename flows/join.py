"""What `fedquad device serve` does before Prefect is imported: find the servers, the exchange and the device's folder."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedquad.errors import DeviceError, ServiceError
from fedquad.onboard.folder import DeviceFolder, device_folder
from fedquad.store.campaign import home
from fedquad.store.servers import into, read_servers
from flows import settings
from tasks.exchange_url import exchange_url, named

DEFAULTS = {
    "PREFECT_WORKER_QUERY_SECONDS": "2",  # a run waits that long for its device at most; each look is a write to SQLite
    "PREFECT_LOGGING_LEVEL": "INFO",  # steps show in the run's log
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What a device was told when it was started."""

    pool: str
    name: str
    data: str = ""
    server: str = ""
    credentials: str = ""
    exchange: str = "mlflow"
    model: str = ""
    label_column: str = "label"
    objective: str = ""
    own_trainer: bool = True


def serve_device(asked: Serving) -> None:
    """Be a device until somebody ends it."""
    if asked.own_trainer and not asked.data:
        raise DeviceError("a device with a trainer of its own needs --data: the folder of its examples, or mini-nli")
    into(os.environ, read_servers(Path(asked.credentials).expanduser() if asked.credentials else None))
    if asked.server:
        os.environ["PREFECT_API_URL"] = asked.server
    if not os.environ.get("PREFECT_API_URL"):
        raise ServiceError(
            "no server is known: `fedquad up` starts one on this machine; for another, copy its credentials.json and name it with --credentials"
        )
    for key, value in DEFAULTS.items():
        os.environ.setdefault(key, value)
    settings.apply(home())
    exchange = named(asked.exchange)
    os.environ["FEDQUAD_EXCHANGE"] = exchange_url(exchange)
    folder = device_folder(asked.name)
    folder.make()
    with alone(folder):
        from flows.serve import Device

        trainer = (asked.data, asked.model, asked.label_column, asked.objective) if asked.own_trainer else ()
        print(f"{asked.name}: joins {asked.pool} on {os.environ['PREFECT_API_URL']}; Ctrl-C ends it", flush=True)
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(Device(folder, asked.pool, exchange, trainer).serve())
        print(f"{asked.name}: ended")


@contextlib.contextmanager
def alone(folder: DeviceFolder) -> Iterator[None]:
    """Refuse to be a device that another process of this machine is already."""
    with open(folder.path / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeviceError(f"a device named {folder.name!r} serves on this machine already") from None
        yield
