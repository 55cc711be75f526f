"""Wherever the power fails in a round's commit and export, and whatever of the unflushed is lost or torn, a campaign opens at the
round before or at the round, with that round's adapters, and goes on to the same bits.
"""

import functools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pretend_campaign
import pytest
from power_loss import Flushed, Loss, Recorder

from fedquad.errors import StoreError
from fedquad.spec import ArmSpec, CampaignSpec
from fedquad.store import campaign, exports
from fedquad.store.campaign import CampaignFolder
from tasks import export

SPEC = CampaignSpec(arms=(ArmSpec(method="fedlora"),), rounds=4, fleet=pretend_campaign.FLEET)
ONE = SPEC.arms[0]


@pytest.fixture(autouse=True)
def yaml_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the time of these tests: every state holds the same spec.yaml, whole or cut."""
    monkeypatch.setattr(campaign, "read_yaml", functools.cache(campaign.read_yaml))


@pytest.fixture
def room() -> Iterator[Path]:
    with pretend_campaign.room() as folder:
        yield folder


def at(home: Path) -> CampaignFolder:
    return CampaignFolder(home / "campaigns" / "c")


def play(home: Path, until: int, recorder: Recorder | None = None) -> None:
    """Begin or resume the campaign, to the end of a round."""
    folder = at(home)
    with folder.open(SPEC):
        folder.check()
        arm = pretend_campaign.open_arm(folder, SPEC, ONE)
        if recorder:
            recorder.mark("begun")
        while arm.folder.progress.last_round < until:
            pretend_campaign.commit(arm)
            if recorder:
                recorder.mark("committed")
            export.export(arm)
        if recorder:
            recorder.mark("exported")


def history(home: Path) -> Any:
    return pretend_campaign.history(at(home).arm(ONE.name, 0))


def reopened(home: Path, loss: Loss) -> int:
    """The round that the campaign opens at after this loss; whatever it promised before holds."""
    folder = at(home)
    if folder.exists():
        assert len(folder.arm(ONE.name, 0).rounds()) == len(folder.summarise()["arms"][0]["rounds"])  # shown as it lies
    arm = folder.arm(ONE.name, 0)
    if "exported" in loss.marks:
        assert exports.stale(arm.path, arm.progress()) == []
    play(home, until=0)
    left = {path.name for path in arm.path.iterdir()} | {path.name for path in arm.state_path.glob(".*")}
    assert left <= {"arm.json", "state", "rounds.jsonl", "adapter", "best"}
    return arm.last_number()


@pytest.mark.parametrize("before", [0, 1, 2])  # the folders are made; a new best; not a best, and one is pruned
def test_after_any_loss_of_power_a_campaign_is_at_the_round_before_or_at_the_round(before: int, room: Path) -> None:
    home, there = room / "home", room / "there"
    home.mkdir()
    if before:
        play(home, before)
    expected = {before: history(home)} if before else {0: ({}, b"", "", "")}
    with Recorder(home) as recorder:
        play(home, before + 1, recorder)
    expected[before + 1] = history(home)

    found = []
    for loss in recorder.losses():
        shutil.rmtree(there, ignore_errors=True)
        loss.restore(there)
        number = reopened(there, loss)
        found.append(number)
        assert number in (before, before + 1)
        assert number == before + 1 or "committed" not in loss.marks, "a committed round was lost"
        assert history(there) == expected[number]
        if number == before:
            play(there, before + 1)
        assert history(there) == expected[before + 1]
    assert len(found) > 100
    assert set(found) == {before, before + 1}


def test_after_any_loss_of_power_on_the_way_back_an_arm_is_at_a_whole_round(room: Path) -> None:
    home, there = room / "home", room / "there"
    home.mkdir()
    expected = {}
    for number in (2, 3, 4):
        play(home, number)
        expected[number] = history(home)
    with Recorder(home) as recorder:
        at(home).rewind(2)
        recorder.mark("back")
    play(home, 2)
    assert history(home) == expected[2]
    found = set()
    for loss in recorder.losses():
        shutil.rmtree(there, ignore_errors=True)
        loss.restore(there)
        play(there, 0)
        number = at(there).arm(ONE.name, 0).last_number()
        found.add(number)
        assert history(there) == expected[number]
        assert number == 2 or "back" not in loss.marks
    assert found == {2, 3, 4}


def test_without_its_flushes_a_commit_would_not_survive(room: Path) -> None:
    """That the states above are the ones that matter: its flushes taken for nothing, the same commit is lost."""
    home, there = room / "home", room / "there"
    home.mkdir()
    play(home, 1)
    with Recorder(home) as recorder:
        play(home, 2, recorder)
    recorder.operations = [one for one in recorder.operations if not isinstance(one, Flushed)]
    end = len(recorder.operations)
    recorder.marks = {"committed": end}
    assert any(is_lost(there, loss) for loss in recorder.losses(since=end))


def is_lost(there: Path, loss: Loss) -> bool:
    shutil.rmtree(there, ignore_errors=True)
    loss.restore(there)
    try:
        return reopened(there, loss) != 2
    except StoreError:
        return True
