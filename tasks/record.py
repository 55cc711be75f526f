"""Commit a finished round to disk, export its adapter, and show it in Prefect: a table a round, a progress bar an arm."""

import re
from collections.abc import Mapping
from typing import Any

from prefect import task
from prefect.artifacts import acreate_progress_artifact, acreate_table_artifact, aupdate_progress_artifact
from prefect.cache_policies import NO_CACHE

from fedquad.rounds.facts import RoundFacts, Scores, round_facts
from fedquad.rounds.round import Outcome, Plan
from fedquad.types import Statuses
from tasks.export import export
from tasks.progress import announce
from tasks.session import Arm


@task(name="record", task_run_name="round {plan.round} - record", cache_policy=NO_CACHE, persist_result=False)
async def record(
    arm: Arm, plan: Plan, statuses: Statuses, outcome: Outcome, scores: Scores, walls: Mapping[str, float]
) -> RoundFacts:
    """Commit the round; what a kill after this point loses is derived again from the commit."""
    facts = round_facts(plan, outcome, statuses, scores, walls)
    document = facts.to_json()
    arm.folder.commit(outcome.state, document, arm.session.spec.keep_every)
    arm.state = outcome.state
    export(arm)
    arm.folder.clear_spool()
    announce("round", **{"label": arm.label, "seed": arm.seed, **document})
    await show_round(arm, document)
    return facts


async def show_round(arm: Arm, document: Mapping[str, Any]) -> None:
    """The round's devices as a table artifact, its place in the campaign as a progress artifact."""
    number, spec = document["round"], arm.session.spec
    rows = [
        {
            "device": row["device"],
            "class": row["class"],
            "mode": row["mode"],
            "depth": len(row["trained"]),
            "quantized": len(row["quantized"]),
            "seconds": round(row["seconds"], 1),
            "waiting": round(row["wait_seconds"], 1),
            "failure": row["failure"],
        }
        for row in document["assignments"]
    ]
    key = artifact_key(arm)
    said = f"{arm.name}, round {number}: accuracy {document['accuracy']:.4f}, {document['round_seconds']:.0f} s, waiting {document['mean_wait_seconds']:.0f} s"
    await acreate_table_artifact(table=rows, key=f"{key}-devices", description=said)
    percent = 100.0 * number / spec.rounds
    if arm.progress is None:
        arm.progress = await acreate_progress_artifact(
            progress=percent, key=f"{key}-progress", description=f"{arm.name}: rounds done"
        )
    else:
        await aupdate_progress_artifact(artifact_id=arm.progress, progress=percent)


def artifact_key(arm: Arm) -> str:
    """Artifact keys are lower-case words with dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{arm.session.folder.name}-{arm.name}".lower()).strip("-")
