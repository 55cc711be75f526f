"""Where adapters pass between machines: the setting `fleet.exchange`, or a device's --exchange, as a URL."""

import os

from fedquad.errors import ServiceError
from fedquad.exchange.exchange import Exchange, open_exchange

EXPERIMENT = "0"  # MLflow's default one: whoever may edit it may exchange (docs/server.md)


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


def opened(url: str, scope: str) -> Exchange:
    """The exchange of one campaign, with the credentials of MLflow's client."""
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    return open_exchange(url, scope=scope, user=user, password=password)
