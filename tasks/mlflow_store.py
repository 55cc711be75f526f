"""The MLflow that a campaign is sent to: how it is reached, its one experiment, and what it raises when it cannot be.

mlflow is imported inside functions: it costs 3 s, and the first round hides them.
"""

import logging
import os
from typing import TYPE_CHECKING

from fedquad.store.campaign import home, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "fedquad"
TALKATIVE = ("alembic", "mlflow", "urllib3")  # they tell of every table created and every connection tried again
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # with a server it prints links between the JSON
    "DO_NOT_TRACK": "1",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def connect(uri: str) -> "MlflowClient":
    for key, value in SETTINGS.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def experiment(client: "MlflowClient") -> str:
    """The experiment all campaigns share, made by whoever comes first."""
    from mlflow.exceptions import MlflowException

    for _ in range(2):
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        is_server = tracking_uri().startswith(("http://", "https://"))
        try:
            return str(
                client.create_experiment(
                    EXPERIMENT, artifact_location=None if is_server else (home() / "mlartifacts").as_uri()
                )
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    raise AssertionError("an experiment that exists can be found")


def unreachable() -> tuple[type[Exception], ...]:
    """What MLflow raises when its store cannot be reached or refuses."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError
