"""What all arms of a seed begin with is scored once, noted in each arm, and is no round."""

import asyncio
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pretend
import pretend_campaign

from fedquad.rounds import adapters
from fedquad.rounds.facts import Scores
from fedquad.store import files
from fedquad.store.campaign import CampaignFolder
from tasks.evaluate import evaluate_start


class CountingJudge:
    """Says 0.25 of any adapter that is there and is what its digest says, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def score(self, path: str, digest: str) -> Scores:
        assert adapters.tensors_digest(files.read_tensors(Path(path))) == digest
        self.asked.append(digest)
        await asyncio.sleep(0)
        return Scores(score=0.25, loss=1.5, validation_score=0.3, validation_loss=1.4)


def open_arms(folder: CampaignFolder, judge: CountingJudge) -> list[Any]:
    arms = [pretend_campaign.open_arm(folder, pretend_campaign.SPEC, one) for one in pretend_campaign.SPEC.arms]
    for arm in arms:
        arm.judge, arm.shared = judge, arms[0].shared
    return arms


def test_the_start_is_scored_once_a_seed_and_kept_outside_the_rounds(tmp_path: Path, monkeypatch: Any) -> None:
    handmade.home_is(tmp_path, monkeypatch)
    folder = CampaignFolder(tmp_path / "campaigns" / "one")
    judge = CountingJudge()

    async def begin(arms: list[Any]) -> None:
        await asyncio.gather(*(evaluate_start(arm) for arm in arms))

    with folder.open(pretend_campaign.SPEC):
        arms = open_arms(folder, judge)
        asyncio.run(begin(arms))
        assert len(judge.asked) == 1
        for arm in arms:
            pretend_campaign.commit(arm)
        again = open_arms(folder, judge)  # a resume: nothing is scored anew, nothing forgotten
        asyncio.run(begin(again))
    assert len(judge.asked) == 1
    assert [arm.state.round for arm in again] == [1, 1]
    for arm in folder.summarise()["arms"]:
        assert arm["start"] == {"score": 0.25, "loss": 1.5}
        assert [facts["round"] for facts in arm["rounds"]] == [1]


def test_a_folder_without_a_start_opens_and_says_none(tmp_path: Path, monkeypatch: Any) -> None:
    handmade.home_is(tmp_path, monkeypatch)
    (arm,) = handmade.make("old", handmade.spec()).summarise()["arms"]
    assert arm["start"] is None
    assert arm["seconds_to_target"] == 100.5 * 3  # interpolated to the last evaluation, whose score the target is


def test_an_arm_begun_before_prices_were_digested_goes_on_without(tmp_path: Path, monkeypatch: Any) -> None:
    handmade.home_is(tmp_path, monkeypatch)
    folder = handmade.make("old", handmade.spec())
    arm = folder.arm("fedlora", 0)
    about = {key: arm.description()[key] for key in ("label", "method", "params", "seed", "inputs", "digests")}
    opened = arm.begin({**about, "digests": {**about["digests"], "prices": "f" * 64}})
    assert opened.progress.last_round == 3
    assert "prices" not in arm.description()["digests"]
    assert arm.check().last_round == 3


def test_ranks_of_the_start_are_the_campaign_s(tmp_path: Path, monkeypatch: Any) -> None:
    """One arm may use greater ranks than another: what all begin with is the same all the same."""
    handmade.home_is(tmp_path, monkeypatch)
    folder = CampaignFolder(tmp_path / "campaigns" / "one")
    judge = CountingJudge()
    with folder.open(pretend_campaign.SPEC):
        arm = open_arms(folder, judge)[0]
        wide = adapters.initial(pretend_campaign.LAYOUT, 16, 0)
        rank = pretend_campaign.SPEC.model.rank
        arm.shared.master = wide
        asyncio.run(evaluate_start(arm))
    assert judge.asked == [adapters.digest(adapters.cut(wide, wide.layers, [rank] * pretend.LAYERS))]
    assert np.all(next(iter(wide.layers[0].values())).b == 0)  # so that no rank changes what it says
