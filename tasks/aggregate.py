"""Merge what came back: read the spool in plan order, one update in memory at a time."""

from collections.abc import Iterable, Iterator, Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from fedquad import wire
from fedquad.rounds import round as rounds
from fedquad.rounds.round import Outcome, Plan
from fedquad.store import files
from fedquad.types import Update
from tasks.session import Arm


@task(name="aggregate", task_run_name="round {plan.round} - aggregate", cache_policy=NO_CACHE, persist_result=False)
async def aggregate(arm: Arm, plan: Plan, sent: Mapping[int, str]) -> Outcome:
    """The next state, and why some devices gave no update."""
    updates = spooled_updates(arm, [assignment.device for assignment, _ in plan.asked])
    return rounds.finish_round(arm.strategy, arm.state, plan, sent, updates, quorum=arm.session.spec.quorum)


def spooled_updates(arm: Arm, devices: Iterable[int], kind: str = "device") -> Iterator[Update]:
    """The answers of some devices, in that order."""
    for device in devices:
        stem = arm.folder.spool_path / f"{kind}-{device:04d}"
        answer = files.read_json(stem.with_suffix(".json"))
        tensors = {} if answer["report"]["failure"] else files.read_tensors(stem.with_suffix(".safetensors"))
        yield wire.update(answer, tensors)
