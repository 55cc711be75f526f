"""Small campaigns that really were trained, kept with every update, so that plans and merges can be computed again without training.

    python tests/replay.py        # trains tests/fixtures/schema-N.zip, N being the schema of today, where there is none yet

    campaign/                     the campaign's folder as it was left
    updates/ARM/round-0001/       what the devices left in that round, and in the survey before it
    context.json                  what the model and the data gave: layout, labels, examples a device

A fixture is never made again: it shows what a release computed, and a later one has to compute the same from it.
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from fedquad import discover, wire
from fedquad.fleets import fleet
from fedquad.prices.cost import cost_model
from fedquad.rounds import adapters
from fedquad.rounds.facts import Scores, round_facts
from fedquad.rounds.round import Outcome, Plan, begin
from fedquad.spec import CampaignSpec
from fedquad.store.campaign import CampaignFolder, campaign
from fedquad.store.manifest import SCHEMA
from fedquad.store.spool import Spool
from fedquad.types import ModelLayout
from flows import edge
from tasks import prepare
from tasks.fleet import Answer, Job
from tasks.round import PLAIN, Step, play
from tasks.session import Arm, Seed, Session
from tasks.simulated_fleet import SimulatedFleet

FIXTURES = Path(__file__).parent / "fixtures"
YAML = """\
model: {name: ./model, rank: 4, alpha: 8.0, max_length: 24}
data: {train: 160, validation: 24, test: 24}
fleet: {boards: {jetson-agx-xavier: 1, jetson-xavier-nx: 1, jetson-tx2: 2}, jitter: 0.2, dropout: 0.1}
cost: {batch: 32, sequence: 128}
training: {steps: 3, batch: 4, learning_rate: 0.01}
arms: [{method: fedquad}, {method: hetlora}, {method: layersel}, {method: inclusivefl}]
rounds: 3
keep_every: 1
quorum: 0.25
"""


class ReplayedFleet(SimulatedFleet):
    """The simulated fleet, whose devices answer what they answered then."""

    def __init__(self, drawn: fleet.Fleet, cost: Any, updates: Path) -> None:
        nothing: Any = None  # nobody trains
        super().__init__(drawn, cost, nothing, 0)
        self.updates = updates

    async def _train(self, job: Job, factor: float, is_dropped: bool) -> Answer:
        out = Path(job.train.out)
        left = self.updates / f"round-{job.train.round:04d}" / out.stem
        if (tensors := left.with_suffix(".safetensors")).exists():
            shutil.copyfile(tensors, out)
        return Answer(job.device, left.with_suffix(".json").read_bytes(), job.estimate.seconds * factor)


class Replay:
    """A fixture's campaign, to be gone through once more in a copy of it."""

    def __init__(self, fixture: Path, copy: Path) -> None:
        shutil.unpack_archive(fixture, copy)
        self.folder, self.updates = CampaignFolder(copy / "campaign"), copy / "updates"
        self.spec: CampaignSpec = edge.typed(self.folder.stored_spec())
        self.context = json.loads((copy / "context.json").read_text())
        self.layout = wire.from_json(ModelLayout, self.context["layout"])
        spec = self.spec
        self.cost = cost_model(
            self.layout.shape, spec.model, spec.training, spec.cost, self.context["labels"], self.context["profile"]
        )

    def again(self, label: str, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The facts of one round as they were kept, and as they are computed from the state before it."""
        return asyncio.run(self._again(label, number))

    async def _again(self, label: str, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        arm = self._arm(label)
        kept = arm.folder.folder.facts(number)
        if number > 1:
            arm.state = arm.folder.state(number - 1)
        found: dict[str, Any] = {}

        async def score(arm: Arm, outcome: Outcome) -> Scores:
            return Scores(
                **{key: kept[key] for key in ("score", "loss", "validation_score", "validation_loss")},
                metrics={"accuracy": kept["accuracy"]},
                validation_metrics={"accuracy": kept["validation_accuracy"]},
                spread=kept.get("spread"),
            )

        async def note(arm: Arm, plan: Plan, statuses: Any, outcome: Outcome, scores: Scores, walls: Any) -> None:
            found.update(json.loads(json.dumps(round_facts(plan, outcome, statuses, scores, walls).to_json())))

        await play(arm, replace(PLAIN, evaluate=score, record=note))
        return without_walls(kept), without_walls(found)

    def _arm(self, label: str) -> Arm:
        spec = self.spec
        chosen = next(arm for arm in spec.arms if arm.name == label)
        strategy = discover.strategy(chosen.method, chosen.params)
        drawn = fleet.resolve(spec.fleet, discover.boards(), None)
        examples = np.array(self.context["examples"], dtype=np.int64)
        folder = self.folder.arm(label, 0).open()
        devices = ReplayedFleet(drawn, self.cost, self.updates / folder.folder.name)
        master = adapters.initial(self.layout, self.context["greatest_rank"], 0)
        shared = Seed(0, master, folder.path, examples, devices, {})
        session: Any = type("Replayed", (), {"spec": spec, "layout": self.layout, "cost": self.cost})
        world = prepare.world_of(session, chosen, strategy, shared)
        nobody: Any = None
        return Arm(
            campaign=self.folder.name,
            spec=spec,
            layout=self.layout,
            label=label,
            method=chosen.method,
            shared=shared,
            strategy=strategy,
            world=world,
            state=begin(strategy, master, world),
            folder=folder,
            spool=Spool(folder.spool_path),
            judge=nobody,
        )


def without_walls(facts: dict[str, Any]) -> dict[str, Any]:
    """A round's facts less what a clock on the wall said, and the F1 that older rounds lack by name."""
    return {key: value for key, value in facts.items() if not key.startswith("wall_") and (key, value) != ("f1", None)}


async def make(kept: Path) -> None:
    """Train the campaign in the working folder and keep all of it."""
    spec = edge.campaign_spec("small.yaml")
    async with prepare.opened(spec, "small") as session:
        for chosen in spec.arms:
            arm = prepare.open_arm(session, chosen.name, 0)
            updates = kept / "updates" / arm.folder.folder.name
            steps = replace(
                PLAIN, dispatch=keeping(updates, PLAIN.dispatch), aggregate=keeping(updates, PLAIN.aggregate)
            )
            while not prepare.is_finished(spec, arm.folder.progress):
                await play(arm, steps)
    campaign("small").write_summary()
    shutil.copytree(campaign("small").path, kept / "campaign", ignore=shutil.ignore_patterns("lock", "spool"))
    (kept / "context.json").write_text(json.dumps(context_of(session), indent=1) + "\n")


def keeping(folder: Path, step: Step) -> Step:
    """The step, which finds in the spool what devices left since the last one."""

    async def one(arm: Arm, plan: Plan, *given: Any) -> Any:
        if arm.spool.path.exists():
            left = folder / f"round-{plan.round:04d}"
            shutil.copytree(arm.spool.path, left, ignore=shutil.ignore_patterns("sent-*"), dirs_exist_ok=True)
        return await step(arm, plan, *given)

    return one


def context_of(session: Session) -> dict[str, Any]:
    return {
        "layout": asdict(session.layout),
        "labels": session.data["labels"],
        "profile": None,
        "greatest_rank": session.opening.greatest_rank,
        "examples": session.seeds[0].examples.tolist(),
    }


def main() -> None:
    fixture = FIXTURES / f"schema-{SCHEMA}.zip"
    if fixture.exists():
        sys.exit(f"{fixture} is there, and is never made again; raise SCHEMA first")
    from tiny import write_model  # imports torch, which a replay does without

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["FEDQUAD_HOME"] = str(Path(folder) / "runs")
        write_model(Path("model"), layers=6)
        Path("small.yaml").write_text(YAML)
        asyncio.run(make(Path(folder) / "kept"))
        FIXTURES.mkdir(exist_ok=True)
        shutil.make_archive(str(fixture.with_suffix("")), "zip", Path(folder) / "kept")


if __name__ == "__main__":
    main()
