"""A campaign of the simulated fleet over devices' own folders: nothing is dealt, unequal and empty devices take part as they are."""

import asyncio
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import fedquad
from fleet_of_three import layout, pricing
from handmade import home_is
from local_folders import BOARDS, LAYOUT, data, make, rows, write
from tiny import a_spec, write_model

from fedquad import discover
from fedquad.errors import ServiceError
from fedquad.fleets import fleet
from fedquad.learn import local
from fedquad.learn.jobs import Evaluate, Open
from fedquad.learn.pool import Pool
from fedquad.objective import ACCURACY, Counts
from fedquad.report import card
from fedquad.rounds.facts import RoundFacts
from fedquad.spec import CampaignSpec, FleetSpec, TrainingSpec
from fedquad.store.campaign import campaign
from tasks import prepare
from tasks.evaluate import FleetJudge, Parts, PoolJudge
from tasks.round import play
from tasks.session import Arm, Seed, Session

BATCH = 4


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CampaignSpec:
    home_is(tmp_path / "runs", monkeypatch)
    return CampaignSpec(
        model=a_spec(write_model(tmp_path / "model")),
        data=data(make(tmp_path / "source")),
        fleet=FleetSpec(boards=BOARDS),
        training=TrainingSpec(batch=BATCH),
        seeds=(0, 1),
        rounds=1,
    )


def test_a_round_is_trained_and_scored_on_what_lies_in_the_folders(spec: CampaignSpec, tmp_path: Path) -> None:
    spec = replace(spec, data=data(tmp_path / "source", evaluation="devices"))

    async def run() -> tuple[Session, Arm, RoundFacts]:
        async with prepare.opened(spec, "own") as session:
            arm = prepare.open_arm(session, "fedlora", 0)
            return session, arm, await play(arm)

    session, arm, facts = asyncio.run(run())
    assert arm.world.steps.tolist() == [6, 1, 1, 7]  # an epoch each; who has nothing is asked, and says so
    failures = {row["device"]: row["failure"] for row in facts.to_json()["assignments"]}
    assert failures == {0: "", 1: "", 2: "device 2: it has no examples", 3: ""}
    assert session.seeds[0].examples.tolist() == [22, 2, 0, 27]
    spread, score = facts.scores.spread, facts.scores.score
    assert spread is not None
    assert spread == facts.to_json()["spread"] == pytest.approx((score * (1 - score)) ** 0.5)
    assert session.seeds[0].digests["split"] == session.seeds[1].digests["split"]
    assert arm.folder.folder.description()["labels"] == ["a", "b", "c"]


def test_devices_count_by_their_examples_and_their_spread_about_that_mean() -> None:
    right = np.array([1, 1, 1, 0, 0, 1], dtype=bool)  # of device 0 all three, of device 2 one of three

    class Counting:
        async def do(self, chunk: Evaluate) -> dict[str, Any]:
            hits = right[chunk.start : chunk.stop]
            return {"confusion": [[int(hits.sum()), int((~hits).sum())], [0, 0]], "loss": 1.0, "count": len(hits)}

    whole = {"size": 6, "path": ""}
    splits = {"test": {**whole, "devices": [3, 0, 3]}, "validation": {**whole, "devices": [6, 0, 0]}}
    about = {"splits": splits, "metrics": ["accuracy"], "objective": "classification"}
    judge = PoolJudge(Counting(), about, ACCURACY)  # type: ignore[arg-type]
    scores = asyncio.run(judge.score("", ""))
    assert (scores.score, scores.validation_score) == (4 / 6, 4 / 6)
    assert scores.spread == pytest.approx(1 / 3)
    judge.data["splits"]["test"] = whole
    assert asyncio.run(judge.score("", "")).spread is None


class Hits:
    """Training processes that know which rows are right."""

    def __init__(self, right: list[bool]) -> None:
        self.right = right

    async def do(self, chunk: Evaluate) -> dict[str, Any]:
        return self.count(chunk.start, chunk.stop)

    def count(self, start: int, stop: int) -> dict[str, Any]:
        hits, size = sum(self.right[start:stop]), stop - start
        return {"confusion": [[hits, size - hits], [0, 0]], "loss": 0.1 * hits, "count": size}

    def judge(self, devices: list[int]) -> PoolJudge:
        split = {"size": sum(devices), "path": "", "devices": devices}
        about = {"splits": {"test": split, "validation": split}, "metrics": ["accuracy"], "objective": "classification"}
        return PoolJudge(self, about, ACCURACY)  # type: ignore[arg-type]


class Elsewhere:
    """A device whose rows are not here, or none."""

    def __init__(self, found: dict[int, Counts]) -> None:
        self.found = found

    async def counted(self, path: str, digest: str) -> Parts:
        return dict.fromkeys(("test", "validation"), self.found)


def test_what_a_device_elsewhere_counts_is_one_score_with_what_is_counted_here() -> None:
    right = [True, True, True, False, False, True]  # two rows of each device
    everywhere = asyncio.run(Hits(right).judge([2, 2, 2]).score("", ""))
    second = Elsewhere({1: Counts.from_json(Hits(right).count(2, 4))})
    here = Hits([*right[:2], *right[4:]]).judge([2, 0, 2])
    assert asyncio.run(FleetJudge(here, second).score("", "")) == everywhere
    assert everywhere.spread == pytest.approx((1 / 18) ** 0.5)
    with pytest.raises(ServiceError, match="no device has scored"):
        asyncio.run(FleetJudge(Hits([]).judge([0, 0, 0]), Elsewhere({})).score("", ""))


def drawn_seed(spec: CampaignSpec, cache: Path) -> Seed:
    """What all arms of seed 0 share, without training processes."""
    session = Session(campaign("splits"), spec, Pool(1, 1))
    job = prepare.preparing(session)
    session.data = local.prepare(job.data, job.model, job.seed, cache, job.folders, job.labels)
    session.layout, session.cost = layout(), pricing()
    session.opening = Open(
        model=spec.model, labels=3, greatest_rank=8, splits={}, threads=1, objective="classification"
    )
    return prepare.draw_seed(session, fleet.resolve(spec.fleet, discover.boards()), 0)


def test_whatever_changes_in_one_devices_folder_changes_the_splits_digest(spec: CampaignSpec, tmp_path: Path) -> None:
    file = tmp_path / "source" / "devices" / LAYOUT[1][0] / "train.csv"
    first = drawn_seed(spec, tmp_path / "cache")
    digests = {first.digests["split"]}
    for count, kinds in ((4, "ab"), (3, "ba"), (3, "a")):
        write(file, rows(LAYOUT[0][2], count, kinds))
        digests.add(drawn_seed(spec, tmp_path / "cache").digests["split"])
    assert len(digests) == 4
    write(file, rows(LAYOUT[0][2], 3))
    again = drawn_seed(spec, tmp_path / "cache")
    assert (again.digests, again.shards) == (first.digests, first.shards)


def test_a_plan_counts_each_devices_own_steps(
    spec: CampaignSpec, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.yaml"
    document = {"model": {"name": "mini"}, "data": {**asdict(spec.data), "text_columns": ["text"]}}
    path.write_text(yaml.safe_dump({**document, "fleet": {"boards": BOARDS}, "training": {"batch": BATCH}}))
    planned = fedquad(capsys, monkeypatch, "plan", str(path), "--json").document
    assert [device["steps"] for device in planned["devices"]] == [6, 1, 1, 8]
    assert "1 to 8 steps a round" in fedquad(capsys, monkeypatch, "plan", str(path)).out
    pools = "{jetson-agx-xavier: a, jetson-tx2: b}"
    said = fedquad(capsys, monkeypatch, "plan", str(path), "--set", f"fleet.pools={pools}")
    assert said.code == 3
    assert "known when they join; give training.steps" in said.err
    assert fedquad(capsys, monkeypatch, "plan", str(path), "--set", "training.steps=5").code == 0


def test_a_card_says_that_nothing_was_dealt() -> None:
    assert card._dealt({"partition": "local", "alpha": 10.0}) == "its own, never dealt"
    assert card._dealt({"partition": "iid", "alpha": 10.0}) == "partition iid, alpha 10"
