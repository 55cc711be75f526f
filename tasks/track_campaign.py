"""A campaign's own run in MLflow, beside its arms': the report with its figures and tables, which MLflow itself cannot draw.

Its arms stay flat; whoever opens the experiment finds them and this one by the tag `campaign`. It is found again by the keys of its
arms' runs, so that a campaign that goes on renews it and one that begins anew has another.
"""

import hashlib
from typing import TYPE_CHECKING

from fedquad.store.campaign import CampaignFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY_TAG = "fedquad_campaign_key"


def send(client: "MlflowClient", experiment: str, folder: CampaignFolder) -> None:
    """Make the run, or find it, and give it the report as it is now."""
    report = folder.path / "report"
    if not report.exists():
        return
    summary = folder.summarise(folder.facts())
    keys = sorted(str(arm.tracking().get("key", "")) for arm in folder.arms())
    key = hashlib.sha256(" ".join([folder.name, *keys]).encode()).hexdigest()
    found = client.search_runs([experiment], f"tags.{KEY_TAG} = '{key}'", max_results=1)
    run = found[0] if found else client.create_run(experiment, tags={KEY_TAG: key}, run_name=folder.name)
    said = [f"- {line}" for line in summary["comparison"]["said"]]
    told = "\n".join([*said, "", f"    fedquad campaign report {folder.name}", ""])
    for name, value in {"campaign": folder.name, "label": "all arms", "mlflow.note.content": told}.items():
        client.set_tag(run.info.run_id, name, value)
    client.log_artifacts(run.info.run_id, str(report), "report")
    client.set_terminated(run.info.run_id, "FINISHED")
