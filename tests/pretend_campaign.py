"""Whole campaigns without a model: the store, the rounds, what is handed out and resuming are real; devices are those of pretend.py."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pretend
from fleet_of_three import layout

from fedquad import discover
from fedquad.learn import peft_folder
from fedquad.rounds import adapters, facts
from fedquad.spec import ArmSpec, CampaignSpec, FleetSpec
from fedquad.store import files, inputs, manifest
from fedquad.store.arm import ArmFolder
from fedquad.store.campaign import CampaignFolder
from fedquad.store.spool import Spool
from tasks import export
from tasks.prepare import is_finished
from tasks.session import Arm, Seed

ROUNDS = 4
FLEET = FleetSpec(boards={"jetson-tx2": 3})
SPEC = CampaignSpec(
    arms=(ArmSpec(method="fedlora"), ArmSpec(method="hetlora")), rounds=ROUNDS, keep_every=3, fleet=FLEET
)
SHARDS = {str(device): np.arange(device, 30, 3) for device in range(3)}
SPLIT = adapters.tensors_digest(SHARDS)
LAYOUT = layout(layers=pretend.LAYERS)
TRACKED = {"uri": "file", "key": "k", "start_ms": 1, "run_id": "r", "best_accuracy": 0.6, "supersedes": []}


@contextmanager
def room() -> Iterator[Path]:
    """A folder in memory where there is one: a campaign flushes a hundred files, and thousands of campaigns wait for the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def run(folder: CampaignFolder, spec: CampaignSpec = SPEC, until: int = ROUNDS) -> None:
    """What a resume does after its checks: begin or open each arm, make its exports, go on to the end, sum up."""
    keep_shards(folder)
    for one in spec.arms:
        arm = open_arm(folder, spec, one)
        while not is_finished(spec, arm.folder.progress, until):
            commit(arm)
            export.export(arm)
        if not arm.folder.folder.is_tracked():
            sent = {"sent_rounds": arm.folder.progress.last_round, "status": "FINISHED"}
            files.write_sealed(arm.folder.path / "tracking.json", {**TRACKED, **sent})
    folder.write_summary()


def keep_shards(folder: CampaignFolder) -> None:
    inputs.keep(folder.path.parents[1] / "cache" / "shards" / f"{SPLIT[:16]}.safetensors", SHARDS, SPLIT)


def open_arm(folder: CampaignFolder, spec: CampaignSpec, one: ArmSpec) -> Arm:
    """The arm where it stands, with what it hands out made again if need be."""
    about = {"label": one.name, "method": one.method, "params": {}, "seed": 0, "environment": {"machine": "an abacus"}}
    computed_from = {"digests": {"split": SPLIT}, "inputs": {"spec": folder.spec_digest()}}
    opened = folder.arm(one.name, 0).begin({**about, **computed_from})
    strategy, world = discover.strategy(one.method), pretend.everyone(3)
    nobody: Any = None  # who trains and who judges are not asked here
    arm = Arm(
        campaign=folder.name,
        spec=spec,
        layout=LAYOUT,
        label=one.name,
        method=one.method,
        shared=Seed(0, adapters.initial(LAYOUT, 8, 0), folder.path, nobody, nobody, {"split": SPLIT}),
        strategy=strategy,
        world=world,
        state=opened.latest() or pretend.begin(strategy, world),
        folder=opened,
        spool=Spool(opened.spool_path),
        judge=nobody,
    )
    export.renew(arm)
    return arm


def commit(arm: Arm) -> None:
    """One more round; every third from the second on is the best until then or as good."""
    there = pretend.fleet(3, 7, 12)
    planned, _, outcome = pretend.run(arm.strategy, arm.state, there, arm.world)
    score = 0.4 + 0.1 * (outcome.state.round % 3)
    scores = facts.Scores(score=score, loss=1.0, validation_score=score, validation_loss=None)
    arm.folder.commit(
        outcome.state, facts.round_facts(planned, outcome, there, scores, {}).to_json(), arm.spec.keep_every
    )
    arm.state = outcome.state


def result(folder: CampaignFolder) -> Any:
    """All that a campaign comes to: its summary, its history to the bit, what it hands out."""
    arms = {arm.name: history(arm) for arm in folder.arms()}
    return folder.summarise(), files.read_json(folder.path / "summary.json"), arms, _shards(folder)


def history(arm: ArmFolder) -> Any:
    """The rounds of an arm to the bit, and what it hands out."""
    states = {n: manifest.read(arm.state_path, n)["sha256"] for n in manifest.numbers(arm.state_path)}
    lines = arm.lines_path.read_bytes() if arm.lines_path.exists() else b""
    return states, lines, *(_handed_out(arm, name) for name in ("adapter", "best"))


def _handed_out(arm: ArmFolder, name: str) -> str:
    return adapters.digest(peft_folder.read(arm.path / name)) if (arm.path / name).exists() else ""


def _shards(folder: CampaignFolder) -> str:
    (path,) = (folder.path.parents[1] / "cache" / "shards").glob("*.safetensors")
    return adapters.tensors_digest(files.read_tensors(path))
