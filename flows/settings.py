"""Prefect and MLflow as we run them: no telemetry, nothing pickled, homes under $FEDQUAD_HOME, and the servers that `fedquad up` runs.
Takes effect before prefect is imported.

What the user has set in the environment stays as it is.
"""

import os
from pathlib import Path
from urllib.parse import urlsplit

from fedquad.store import servers
from fedquad.store.files import disk_error
from flows.guard import answers, is_loopback

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",  # the default is pickle
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_FLOW_RUN_GRAPH_MAX_NODES": "10000",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # SQLite has one writer: wait for it rather than answer 503
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "1",  # seconds until a device's word can be read; the default is 5
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def apply(home: Path) -> None:
    """Set what is not set yet."""
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    if "PREFECT_HOME" not in os.environ:
        folder = home / "prefect"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, folder) from error
        os.environ["PREFECT_HOME"] = str(folder)


def find_servers() -> list[str]:
    """Point clients at the servers of credentials.json where the environment names none; returns what there is to say.

    One that does not answer is done without: Prefect's by a temporary one, MLflow's on this machine by the file that it would serve.
    What another machine's MLflow misses is sent later (tasks/track.py).
    """
    found = servers.read_servers()
    if found is None:
        return []
    said = []
    if "PREFECT_API_URL" not in os.environ and not answers(f"{found.prefect_url}/health"):
        said.append(
            f"Prefect's server at {found.prefect_url} does not answer; a temporary one does instead (`fedquad up` starts it)"
        )
    else:
        servers.into(os.environ, found, ["PREFECT_API_URL"])
    is_near = is_loopback(urlsplit(found.mlflow_url).hostname or "")
    if "MLFLOW_TRACKING_URI" in os.environ or not is_near or answers(f"{found.mlflow_url}/health"):
        servers.into(os.environ, found, ["MLFLOW_TRACKING_URI"])
    return said
