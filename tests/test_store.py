"""Campaigns on disk: what is written is read, a kill at any write costs at most the round in progress, nothing is trusted unchecked."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import handmade
import numpy as np
import pytest
from fleet_of_three import adapter, state

from fedquad.errors import ChangedSpecError, LockedError, SpecError, StoreError, UnknownNameError
from fedquad.rounds.facts import state_digest
from fedquad.spec import CampaignSpec, TrainingSpec
from fedquad.store import campaign as store
from fedquad.store import files, manifest
from fedquad.store.arm import ArmFolder, OpenArm
from fedquad.types import ServerState

ABOUT = {"label": "a", "method": "fedlora", "params": {}, "seed": 0, "digests": {"backbone": "b" * 64}, "inputs": {}}


def facts(number: int, validation: float = 0.5) -> dict[str, object]:
    return {**handmade.facts(number), "validation_score": validation, "score": 0.4}


def at_round(number: int) -> ServerState:
    memo = {"ranks": np.arange(3), "beta": 0.2}
    return state(
        adapter(fill=number),
        round=number,
        memo=memo,
        gradient_norms=np.array([0.1, number]),
        clock_seconds=10.0 * number,
    )


def an_arm(path: Path, rounds: int = 0) -> OpenArm:
    arm = ArmFolder(path / "a").begin(ABOUT)
    for number in range(1, rounds + 1):
        arm.commit(at_round(number), facts(number))
    return arm


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    back = an_arm(tmp_path, 1).latest()
    assert back is not None
    assert state_digest(back) == state_digest(at_round(1))
    assert (back.round, back.clock_seconds, back.memo["beta"]) == (1, 10.0, 0.2)
    assert back.memo["ranks"].tolist() == [0, 1, 2]  # type: ignore[union-attr]


def test_the_tensors_of_the_last_two_the_best_and_every_n_are_kept_and_every_manifest(tmp_path: Path) -> None:
    arm = an_arm(tmp_path)
    for number in range(1, 10):
        arm.commit(at_round(number), facts(number, validation=0.9 if number == 3 else 0.5), keep_every=4)
    assert manifest.numbers(arm.folder.state_path, "safetensors") == [3, 4, 8, 9] == arm.kept
    assert manifest.numbers(arm.folder.state_path) == list(range(1, 10))
    assert [r["round"] for r in arm.folder.rounds()] == list(range(1, 10))
    assert arm.progress == arm.folder.open().progress
    assert (arm.progress.best_round, arm.progress.last_round) == (3, 9)


def test_a_kill_before_the_manifest_leaves_the_round_before(tmp_path: Path) -> None:
    arm = an_arm(tmp_path, 1)
    files.write_tensors(arm.folder.state_path / "round-0002.safetensors", {"x": np.zeros(2)})
    again = arm.folder.open()
    assert again.latest().round == 1  # type: ignore[union-attr]
    assert manifest.numbers(arm.folder.state_path, "safetensors") == [1]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[3])
    from test_store import ABOUT, at_round, facts
    from fedquad.store.arm import ArmFolder

    writes = 0
    def killing(original):
        def call(*arguments):
            global writes
            if writes == int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)
            writes += 1
            return original(*arguments)
        return call

    os.fsync, os.replace = killing(os.fsync), killing(os.replace)
    arm = ArmFolder(Path(sys.argv[1])).begin(ABOUT)
    latest = arm.latest()
    for number in range((latest.round if latest else 0) + 1, 4):
        arm.commit(at_round(number), facts(number))
    """


@pytest.mark.parametrize("point", [0, 1, 2, 3, 4, 6, 9, 12])
def test_a_kill_at_any_write_costs_at_most_one_round_and_resuming_ends_the_same(point: int, tmp_path: Path) -> None:
    arm = ArmFolder(tmp_path / "a")
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(arm.path)]
    here = str(Path(__file__).parent)
    assert subprocess.run([*command, str(point), here], check=False).returncode == -9
    subprocess.run([*command, "1000", here], check=True)
    assert [r["round"] for r in arm.rounds()] == [1, 2, 3]
    assert state_digest(arm.open().latest()) == state_digest(at_round(3))  # type: ignore[arg-type]


def test_the_same_name_with_another_spec_is_refused_with_the_difference(tmp_path: Path) -> None:
    folder = store.CampaignFolder(tmp_path / "c")
    with folder.open(CampaignSpec(rounds=5)):
        pass
    with pytest.raises(ChangedSpecError, match="rounds: 5 -> 6"), folder.open(CampaignSpec(rounds=6)):
        pass


def test_a_campaign_from_before_a_setting_goes_on_with_its_default(tmp_path: Path) -> None:
    folder = store.CampaignFolder(tmp_path / "c")
    with folder.open(CampaignSpec(rounds=5)):
        pass
    older = folder.path / "spec.yaml"
    older.write_text("".join(line for line in older.read_text().splitlines(True) if "padding:" not in line))
    digest = folder.spec_digest()
    with folder.open(CampaignSpec(rounds=5)):
        pass
    assert folder.spec_digest() == digest, "what its arms were begun with stays as it is"
    other = CampaignSpec(rounds=5, training=TrainingSpec(padding="max"))
    with pytest.raises(ChangedSpecError, match=r"training\.padding: 'longest' -> 'max'"), folder.open(other):
        pass


def test_a_campaign_from_before_there_were_stacks_goes_on_with_each_device_alone(tmp_path: Path) -> None:
    folder, alone = store.CampaignFolder(tmp_path / "c"), CampaignSpec(training=TrainingSpec(cohort=1))
    with folder.open(alone):
        pass
    older = folder.path / "spec.yaml"
    older.write_text("".join(line for line in older.read_text().splitlines(True) if "cohort:" not in line))
    digest = folder.spec_digest()
    assert folder.stored_spec()["training"]["cohort"] == 1
    with folder.open(alone):
        pass
    assert folder.spec_digest() == digest
    with pytest.raises(ChangedSpecError, match=r"training\.cohort: 1 -> None"), folder.open(CampaignSpec()):
        pass


def test_a_second_process_is_told_who_holds_the_campaign(tmp_path: Path) -> None:
    folder = store.CampaignFolder(tmp_path / "c")
    with folder.open(CampaignSpec()):
        second = "import sys; from pathlib import Path; from fedquad.spec import CampaignSpec\nfrom fedquad.store.campaign import CampaignFolder\n"
        second += f"with CampaignFolder(Path({str(folder.path)!r})).open(CampaignSpec()): pass"
        answer = subprocess.run([sys.executable, "-c", second], capture_output=True, text=True, check=False)
    assert f"is being run by process {os.getpid()}" in answer.stderr
    assert LockedError.__name__ in answer.stderr


def test_fresh_sets_the_old_campaign_aside(tmp_path: Path) -> None:
    folder = store.CampaignFolder(tmp_path / "c")
    with folder.open(CampaignSpec()):
        pass
    aside = folder.set_aside()
    assert aside is not None
    assert (aside / "spec.yaml").exists()
    assert not folder.exists()


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden"])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="cannot be named"):
        store.checked_name(name)


def test_an_unknown_campaign_is_an_error_that_lists_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDQUAD_HOME", str(tmp_path))
    with store.campaign("here").open(CampaignSpec()):
        pass
    with pytest.raises(UnknownNameError, match="there are: here"):
        store.existing("gone")


def test_a_torn_document_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"a": 1})[:-2])
    with pytest.raises(StoreError, match=r"x\.json cannot be read"):
        files.read_json(tmp_path / "x.json")


def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(StoreError, match="No space left on device"):
        files.append_line(Path("/dev/full"), {"a": 1})


def test_a_disk_without_reserve_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.check_room(tmp_path)
    monkeypatch.setattr(files, "RESERVE_BYTES", shutil.disk_usage(tmp_path).total + 1)
    with pytest.raises(StoreError, match=r"MB left on its disk, .* make room"):
        files.check_room(tmp_path)
