"""Events of our own in Prefect: what its feed shows and automations can wait for (deployments/automations.yaml has an example).

    fedquad.round.committed   an arm's round is on disk: its score, seconds, failures
    fedquad.device.lost       a device of a work pool gave no update in a round, and why
    fedquad.arm.finished      an arm is at its end

The temporary server of a command keeps no events, and nobody would look: there none are sent.
"""

from contextvars import ContextVar
from typing import Any

from prefect import runtime
from prefect.events import emit_event

from fedquad.rounds.facts import RoundFacts
from tasks.session import Arm

SILENT: ContextVar[bool] = ContextVar("fedquad_no_events", default=False)
FIGURES = ("round", "score", "loss", "round_seconds", "elapsed_seconds", "participants", "failures", "state_digest")


def round_committed(arm: Arm, facts: RoundFacts) -> None:
    """Tell of a round, and of each device of a work pool that was lost in it."""
    line = facts.to_json()
    emit("round.committed", arm, {**{key: line[key] for key in FIGURES}, **facts.scores.named()})
    if not arm.spec.fleet.pools:  # devices that are drawn are lost by the draw, a hundred a round
        return
    for row in facts.assignments:
        if row["failure"]:
            lost = {key: row[key] for key in ("device", "board", "failure")}
            emit("device.lost", arm, {"round": facts.round, **lost}, device=str(row["device"]))


def arm_finished(arm: Arm) -> None:
    progress = arm.folder.progress
    emit("arm.finished", arm, {"rounds": progress.last_round, f"best_{progress.metric.name}": progress.best_score})


def emit(event: str, arm: Arm, payload: dict[str, Any], **labels: str) -> None:
    """Send one event of an arm; its flow run is related, so that it shows on the run's page."""
    if SILENT.get():
        return
    name = f"{arm.campaign}.{arm.name}" + "".join(f".device-{one}" for one in labels.values())
    resource = {
        "prefect.resource.id": f"fedquad.arm.{name}",
        "prefect.resource.name": name,
        "fedquad.campaign": arm.campaign,
        "fedquad.label": arm.label,
        "fedquad.seed": str(arm.seed),
        **{f"fedquad.{key}": value for key, value in labels.items()},
    }
    run = runtime.flow_run.id
    related = [{"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}] if run else []
    emit_event(f"fedquad.{event}", resource, related=related, payload=payload)
