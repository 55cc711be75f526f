"""Where adapters pass between machines: the setting `fleet.exchange`, or a device's --exchange, as a URL."""

import hashlib
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from fedquad.errors import ExchangeError, ServiceError
from fedquad.exchange.exchange import Exchange, open_exchange

EXPERIMENT = "0"  # MLflow's default one: whoever may edit it may exchange (docs/server.md)


def named(exchange: str) -> str:
    """The exchange as both sides name it; a device says this in its status, so no password may be in it."""
    try:
        has_secret = urlsplit(exchange).password is not None
    except ValueError as error:
        raise ExchangeError(f"the exchange's URL cannot be read: {error}") from error
    if has_secret:
        raise ExchangeError("the exchange's URL holds a password; statuses and logs show it, so give that apart")
    return exchange.rstrip("/") or exchange


def exchange_url(exchange: str) -> str:
    """The URL; `mlflow` is the tracking server's artifact proxy."""
    if exchange != "mlflow":
        return exchange
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not tracking.startswith(("http://", "https://")):
        raise ServiceError(
            f"the exchange is the MLflow server, but MLFLOW_TRACKING_URI is {tracking!r}; `fedquad up` starts one, or give an fsspec URL"
        )
    return f"mlflow+{tracking.rstrip('/')}?experiment={EXPERIMENT}"


def scope(kind: str, folder: Path) -> str:
    """What a campaign's contents lie under: its own, whoever else uses the exchange."""
    return f"{kind}-{hashlib.sha256(f'{socket.gethostname()}:{folder}'.encode()).hexdigest()[:12]}"


def opened(url: str, scope: str) -> Exchange:
    """The exchange of one campaign, with the credentials of MLflow's client."""
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    return open_exchange(url, scope=scope, user=user, password=password)
