"""Show a finished round in Prefect: its devices as a table, the arm's place in the campaign as a progress bar."""

import re

from prefect.artifacts import (
    acreate_link_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)

from fedquad.rounds.facts import RoundFacts
from tasks.device_table import device_table
from tasks.session import Arm


async def show(arm: Arm, facts: RoundFacts) -> None:
    """Make the round's table artifact and move the arm's progress artifact."""
    rows, more = device_table(facts.assignments)
    key = artifact_key(arm.campaign, arm.name)
    said = (
        f"{arm.name}, round {facts.round}: {arm.folder.progress.metric.words} {facts.scores.score:.4f}, {facts.round_seconds:.0f} s, "
        f"waiting {facts.mean_wait_seconds:.0f} s{more and '; ' + more}"
    )
    table = await acreate_table_artifact(table=rows, key=f"{key}-devices", description=said)
    arm.records[facts.round].artifacts.append(table)
    percent = 100.0 * facts.round / arm.spec.rounds
    if arm.progress is None:
        arm.progress = await acreate_progress_artifact(
            progress=percent, key=f"{key}-progress", description=f"{arm.name}: rounds done"
        )
    else:
        await aupdate_progress_artifact(artifact_id=arm.progress, progress=percent)


async def show_link(campaign: str, label: str, seed: int, link: str) -> None:
    """Link an arm's run in MLflow."""
    name = f"{label}-s{seed}"
    key = artifact_key(campaign, name)
    await acreate_link_artifact(link=link, link_text=f"{name} in MLflow", key=f"{key}-mlflow", description=f"{name}: its curves and adapters in MLflow")  # fmt: skip


def artifact_key(campaign: str, name: str) -> str:
    """Artifact keys are lower-case words with dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{campaign}-{name}".lower()).strip("-")
