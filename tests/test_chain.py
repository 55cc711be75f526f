"""An arm is one chain of digests, from what it is computed from to its last round: what is derived is made again, what is not is compared."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handmade
import pretend_campaign
import pytest

from fedquad.errors import StoreError
from fedquad.store import files, inputs, manifest
from fedquad.store.arm import ArmFolder
from fedquad.store.campaign import CampaignFolder

ABOUT: dict[str, Any] = {
    "label": "a",
    "method": "fedlora",
    "params": {"beta": 0.2},
    "seed": 0,
    "digests": {"split": "a" * 64, "trace": "b" * 64, "adapter": "c" * 64, "backbone": "d" * 64},
    "inputs": {"spec": "e" * 64, "train tokens": "f" * 64, "method source": "1" * 64},
}


def an_arm(path: Path, rounds: int = 3) -> ArmFolder:
    arm = ArmFolder(path / "a")
    opened = arm.begin(ABOUT)
    for number in range(1, rounds + 1):
        opened.commit(handmade.state(number), handmade.facts(number))
    return arm


def path_of(arm: ArmFolder, number: int) -> Path:
    return manifest.path_of(arm.state_path, number)


def forge(path: Path, change: Callable[[Any], None]) -> None:
    """Change a document and seal it anew."""
    document = files.read_json(path)
    change(document)
    files.write_sealed(path, document)


LINES: dict[str, Callable[[bytes], bytes]] = {
    "gone": lambda lines: b"",
    "without the first": lambda lines: lines.split(b"\n", 1)[1],
    "without the last": lambda lines: b"\n".join(lines.split(b"\n")[:-2]) + b"\n",
    "cut": lambda lines: lines[:-20],
    "doubled": lambda lines: lines * 2,
    "another figure": lambda lines: lines.replace(b'"accuracy": 0.5', b'"accuracy": 0.9', 1),
}


@pytest.mark.parametrize("damage", LINES)
def test_lines_are_written_anew_when_they_are_not_what_the_manifests_say(damage: str, tmp_path: Path) -> None:
    arm = an_arm(tmp_path)
    before = arm.lines_path.read_bytes()
    arm.lines_path.write_bytes(LINES[damage](before))
    assert arm.lines_path.read_bytes() != before
    opened = arm.open()
    assert opened.progress.last_round == 3  # counted by the manifests' numbers
    assert arm.lines_path.read_bytes() == before


def test_a_line_may_be_of_any_kind_of_file_and_is_replaced_without_being_followed(tmp_path: Path) -> None:
    arm = an_arm(tmp_path)
    before, target = arm.lines_path.read_bytes(), tmp_path / "target"
    target.write_text("mine")
    for lay in (os.mkfifo, os.mkdir, lambda path: os.symlink(target, path)):
        arm.lines_path.unlink()
        lay(arm.lines_path)  # type: ignore[operator]
        arm.open()
        assert (arm.lines_path.read_bytes(), target.read_text()) == (before, "mine")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_changed_manifest_is_named_sealed_anew_or_not(number: int, tmp_path: Path) -> None:
    arm = an_arm(tmp_path)
    path, clock = path_of(arm, number), "clock_seconds"
    text = path.read_text()
    path.write_text(text.replace(f'"{clock}": {100.5 * number}', f'"{clock}": 1e6'))
    with pytest.raises(StoreError, match=rf"round-000{number}\.json was changed"):
        arm.open()
    path.write_text(text)
    forge(path, lambda document: document["numbers"].update({clock: 1e6}))
    if number < 3:  # nothing follows the last that could tell
        with pytest.raises(StoreError, match=rf"round-000{number + 1}\.json does not follow"):
            arm.open()


def test_a_manifest_that_is_gone_is_named_and_the_last_is_computed_again(tmp_path: Path) -> None:
    arm = an_arm(tmp_path)
    path_of(arm, 3).unlink()
    with pytest.raises(StoreError, match=r"round-0003\.json is gone, though rounds\.jsonl tells of round 3"):
        arm.refuse_lost(len(arm.rounds()))
    opened = arm.open()
    assert opened.progress.last_round == 2
    opened.commit(handmade.state(3), handmade.facts(3))
    path_of(arm, 2).unlink()
    with pytest.raises(StoreError, match=r"round-0002\.json is gone, though round 3 is there"):
        arm.open()


def test_tensors_of_another_round_are_refused(tmp_path: Path) -> None:
    arm = an_arm(tmp_path)
    newest = manifest.path_of(arm.state_path, 3, "safetensors")
    tensors = files.read_tensors(newest)
    files.write_tensors(newest, {name: array + 1 for name, array in tensors.items()})
    with pytest.raises(StoreError, match=r"its manifest says .* --from-round N` goes back"):
        arm.open().latest()
    with pytest.raises(StoreError, match="its manifest says"):
        arm.check()


@pytest.mark.parametrize(
    ("group", "key"),
    [(group, key) for group in ("digests", "inputs") for key in ABOUT[group]] + [("params", "beta"), ("", "method")],
)
def test_an_arm_begun_with_other_content_is_refused_by_its_name_and_nothing_is_overwritten(
    group: str, key: str, tmp_path: Path
) -> None:
    arm = an_arm(tmp_path)
    before = (arm.path / "arm.json").read_bytes()
    other = {**ABOUT, group: {**ABOUT[group], key: "9" * 64}} if group else {**ABOUT, key: "hetlora"}
    with pytest.raises(StoreError, match=f"begun with another (params.)?{key}: it was .* and is .*--fresh") as refusal:
        arm.begin(other)
    assert "\n" not in str(refusal.value)
    assert (arm.path / "arm.json").read_bytes() == before
    assert arm.begin(ABOUT).progress.last_round == 3


def test_rounds_are_of_the_arm_they_were_computed_in(tmp_path: Path) -> None:
    arm = an_arm(tmp_path)
    forge(arm.path / "arm.json", lambda document: document["digests"].update(backbone="9" * 64))
    with pytest.raises(StoreError, match=r"round-0001\.json does not follow what is before it"):
        arm.open()


def test_the_source_of_a_method_outside_the_package_is_an_input(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from fedquad.strategies.fedlora import strategy\n")
    before = inputs.method_digest(str(path))
    assert list(before) == ["method source"]
    path.write_text("from fedquad.strategies.fedlora import strategy  # changed\n")
    assert inputs.method_digest(str(path)) != before
    assert inputs.method_digest("fedlora:oracle") == {}


def test_shards_that_are_not_of_their_name_are_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "shards.safetensors"
    for damage in (b"", None, b"half"):
        inputs.keep(path, pretend_campaign.SHARDS, pretend_campaign.SPLIT)
        whole = path.read_bytes()
        path.unlink() if damage is None else path.write_bytes(damage)
        inputs.keep(path, pretend_campaign.SHARDS, pretend_campaign.SPLIT)
        assert path.read_bytes() == whole


def test_a_spec_that_is_not_the_one_the_arms_were_begun_with_is_refused(tmp_path: Path) -> None:
    folder, spec = CampaignFolder(tmp_path / "home" / "campaigns" / "c"), pretend_campaign.SPEC
    with folder.open(spec):
        pretend_campaign.run(folder, until=1)
    text = (folder.path / "spec.yaml").read_text()
    (folder.path / "spec.yaml").write_text(text.replace("rounds: 4", "rounds: 5"))
    for look in (folder.summarise, folder.check, folder.status):
        with pytest.raises(StoreError, match=r"spec\.yaml was changed"):
            look()


def test_a_round_reads_as_much_at_the_end_as_at_the_start(tmp_path: Path) -> None:
    opened = an_arm(tmp_path, rounds=0).open()
    read: dict[int, list[str]] = {}
    number = 0

    def follow(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and number and str(arguments[0]).startswith(str(tmp_path)):
            read.setdefault(number, []).append(Path(arguments[0]).suffix)

    sys.addaudithook(follow)
    for number in range(1, 61):
        opened.commit(handmade.state(number), handmade.facts(number))
    number = 0
    assert read[60] == read[3]
    assert len(read[60]) < 10


@pytest.mark.parametrize("name", ["arm.json", "state/round-0002.json", "state/round-0003.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "link", "zeros", "folder", "sparse", "deep"])
def test_whatever_lies_in_its_place_is_refused_in_a_line_at_once(kind: str, name: str, tmp_path: Path) -> None:
    arm = an_arm(tmp_path)
    path = arm.path / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind in ("link", "zeros"):
        path.symlink_to("/etc/passwd" if kind == "link" else "/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        path.touch()
        os.truncate(path, 2**36)
    else:
        path.write_bytes(b"[" * 100_000)
    with pytest.raises(StoreError, match=rf"{Path(name).name} cannot be read") as refusal:
        arm.check()
    assert "\n" not in str(refusal.value)


def test_a_link_laid_where_a_write_passes_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / f".x.json.{os.getpid()}.tmp").symlink_to(target)
    (tmp_path / "x.json").symlink_to(target)
    files.write_json(tmp_path / "x.json", {"a": 1})
    assert target.read_text() == "mine"
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}
    assert not (tmp_path / "x.json").is_symlink()
    (tmp_path / "lines").symlink_to(target)
    with pytest.raises(StoreError, match="cannot be written"):
        files.append_line(tmp_path / "lines", {"a": 1})


def test_going_back_keeps_a_whole_history_and_sets_the_rest_aside(tmp_path: Path) -> None:
    folder, spec = CampaignFolder(tmp_path / "home" / "campaigns" / "c"), pretend_campaign.SPEC
    with folder.open(spec):
        pretend_campaign.run(folder)
    end = pretend_campaign.result(folder)
    with pytest.raises(StoreError, match="has no state of round 1 to go back to; it keeps those of 2, 3, 4"):
        folder.rewind(1)
    aside = folder.rewind(2)
    assert [arm.last_number() for arm in folder.arms()] == [2, 2]
    assert all((path / "round-0004.json").exists() and (path / "adapter").is_dir() for path in aside)
    assert all(arm.tracking()["supersedes"] == ["r"] for arm in folder.arms())
    with folder.open(spec):
        pretend_campaign.run(folder)
    assert pretend_campaign.result(folder) == end


def test_a_round_that_is_not_sound_is_not_gone_back_to(tmp_path: Path) -> None:
    folder, spec = CampaignFolder(tmp_path / "home" / "campaigns" / "c"), pretend_campaign.SPEC
    with folder.open(spec):
        pretend_campaign.run(folder)
    second = folder.arm("hetlora", 0)
    files.write_tensors(manifest.path_of(second.state_path, 2, "safetensors"), pretend_campaign.SHARDS)
    with pytest.raises(StoreError, match="its manifest says"):
        folder.rewind(2)
    assert [arm.last_number() for arm in folder.arms()] == [4, 4], "one arm went back without the other"


def old_schema(folder: CampaignFolder, rounds: int) -> None:
    """An arm as the first schema left it: its description without number or seal, its history in lines."""
    arm = folder.arm("fedlora", 0)
    arm.path.mkdir(parents=True)
    about = {"label": "fedlora", "method": "fedlora", "params": {}, "seed": 0, "digests": {}, "environment": {}}
    files.write_json(arm.path / "arm.json", {**about, "failure": ""})
    for number in range(1, rounds + 1):
        files.append_line(arm.lines_path, handmade.facts(number))


@pytest.mark.parametrize("rounds", [2, 3])
def test_the_first_schema_is_shown_when_finished_and_gone_on_with_never(rounds: int, tmp_path: Path) -> None:
    folder, spec = CampaignFolder(tmp_path / "c"), handmade.spec(rounds=3)
    with folder.open(spec):
        old_schema(folder, rounds)
    assert len(folder.summarise()["arms"][0]["rounds"]) == rounds
    if rounds == 3:
        assert folder.check()
        assert folder.status() == "finished"
        return
    with pytest.raises(StoreError, match="begun under schema 1, and this version goes on with schema 2 only"):
        folder.check()
    with pytest.raises(StoreError, match="begun under schema 1"):
        folder.arm("fedlora", 0).begin(ABOUT)


FORGED = {"inputs": {"spec": [1]}, "digests": {"split": 3}, "seed": "0", "params": None}


@pytest.mark.parametrize("key", FORGED)
def test_a_description_of_other_types_is_refused_by_the_path_to_them(key: str, tmp_path: Path) -> None:
    arm = an_arm(tmp_path)
    forge(arm.path / "arm.json", lambda document: document.update({key: FORGED[key]}))
    with pytest.raises(StoreError, match=rf"arm\.json is not as it was written: {key}"):
        arm.open()


def test_a_schema_to_come_is_refused(tmp_path: Path) -> None:
    arm = an_arm(tmp_path)
    forge(arm.path / "arm.json", lambda document: document.update(schema=3))
    with pytest.raises(StoreError, match="is of schema 3, and this version reads 2; use the version that wrote it"):
        arm.open()


@pytest.mark.parametrize("harm", ["gone", "a pipe", "another's", "cut"])
def test_a_finished_campaign_gets_its_lines_back(harm: str, tmp_path: Path, monkeypatch: Any) -> None:
    handmade.home_is(tmp_path, monkeypatch)
    folder = handmade.make("lines", handmade.spec())
    path = folder.arm("fedlora", 0).lines_path
    whole = path.read_bytes()
    if harm == "cut":
        path.write_bytes(whole[:-20])
    else:
        path.unlink()
    if harm == "a pipe":
        os.mkfifo(path)
    if harm == "another's":
        path.write_bytes(whole.replace(b"0.5", b"0.9"))
    folder.renew_lines()
    assert path.read_bytes() == whole
