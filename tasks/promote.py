"""Name an arm's best adapter in MLflow's registry: a version of a registered model, and an alias that points at it.

The version is the arm's logged model, safetensors and JSON; nothing is copied and nothing pickled.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedquad.errors import StoreError
from fedquad.store.campaign import CampaignFolder, tracking_uri
from tasks.mlflow_store import connect, unreachable
from tasks.track_arm import UNNAMEABLE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

    from fedquad.store.arm import ArmFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """What the registry holds now."""

    model: str
    version: str
    alias: str
    uri: str  # by which MLflow finds it
    artifacts: str  # where its files lie


def default_name(folder: CampaignFolder) -> str:
    """Adapters of one backbone on one task are versions of one model, whichever campaign trained them."""
    spec = folder.stored_spec()
    return UNNAMEABLE.sub("-", f"{spec['model']['name'].rstrip('/').rpartition('/')[2]}-{spec['data']['name']}")


def promote(folder: CampaignFolder, arm: "ArmFolder", name: str, alias: str) -> Promoted:
    """Give the alias to the arm's best adapter; a version it has already is taken again."""
    try:
        return _promote(connect(tracking_uri()), folder, arm, name, alias)
    except unreachable() as error:
        raise StoreError(
            f"MLflow at {tracking_uri()} did not take {name!r}: {str(error).splitlines()[0][:160]}; see whether it runs, or "
            f"give another --as and --alias"
        ) from error


def _promote(client: "MlflowClient", folder: CampaignFolder, arm: "ArmFolder", name: str, alias: str) -> Promoted:
    model = _logged(client, folder, arm)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    same = [v for v in client.search_model_versions(f"name = '{name}'") if v.source == model.artifact_location]
    tags = {"campaign": folder.name, "label": str(model.tags["label"]), "seed": str(model.tags["seed"])}
    version = same[0] if same else client.create_model_version(
        name, model.artifact_location, model.source_run_id, tags, model_id=model.model_id
    )  # fmt: skip
    client.set_registered_model_alias(name, alias, version.version)
    return Promoted(
        model=name,
        version=str(version.version),
        alias=alias,
        uri=f"models:/{name}@{alias}",
        artifacts=str(model.artifact_location),
    )


def _logged(client: "MlflowClient", folder: CampaignFolder, arm: "ArmFolder") -> "LoggedModel":
    """The model that the arm's run holds of its best round."""
    cursor = arm.tracking()
    if cursor.get("uri") == tracking_uri() and cursor.get("run_id"):
        experiment = client.get_run(cursor["run_id"]).info.experiment_id
        found = client.search_logged_models([experiment], f"source_run_id = '{cursor['run_id']}'")
        state = str(arm.facts(arm.progress().best_round)["state_digest"])
        for model in found:
            if state.startswith(str(model.tags.get("state"))):
                return model
    raise StoreError(
        f"MLflow at {tracking_uri()} has no model of arm {arm.name}; `fedquad campaign resume {folder.name}` ends the campaign, "
        f"which sends it"
    )
