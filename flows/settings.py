"""Prefect and MLflow as we run them: no telemetry, nothing pickled, homes under $FEDQUAD_HOME. Takes effect before prefect is imported.

What the user has set in the environment stays as it is.
"""

import os
from pathlib import Path

from fedquad.store.files import disk_error

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
