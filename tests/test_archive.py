"""One file of a campaign: another machine checks it and reports from it; whatever else such a file may be is refused in a line."""

import contextlib
import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handmade
import pytest
from commands import Said, fedquad

from fedquad.errors import FedquadError, StoreError
from fedquad.store import archive, files
from fedquad.store.campaign import CampaignFolder

Entries = dict[str, bytes]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: Any, capsys: Any) -> Any:
    handmade.home_is(tmp_path / "home", monkeypatch)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Said:
        return fedquad(capsys, monkeypatch, *arguments)

    return run


def test_an_exported_campaign_is_checked_and_reported_from_elsewhere(
    run: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    folder = handmade.make("one", handmade.spec("fedlora", "fedlora:oracle"))
    found = folder.summarise()
    said = run("campaign", "export", "one")
    assert (said.code, said.out) == (0, "one.fedquad.zip\n"), said.err
    names = zipfile.ZipFile("one.fedquad.zip").namelist()
    for name in ("spec.yaml", "summary.json", "report/index.html", "report/figures/accuracy.svg", "arms/fedlora-s0/rounds.jsonl",
                 "arms/fedlora-s0/state/round-0003.safetensors", "arms/fedlora:oracle-s0/best/adapter_config.json"):  # fmt: skip
        assert name in names
    assert not any("lock" in name or "tracking" in name for name in names)

    monkeypatch.setenv("FEDQUAD_HOME", str(tmp_path / "another machine"))
    assert run("campaign", "verify", "one.fedquad.zip", "--rounds", "0").out.startswith(
        "campaign one: every digest is right"
    )
    assert run("campaign", "report", "one.fedquad.zip", "--json").document["comparison"] == found["comparison"]
    assert (tmp_path / "one.report" / "index.html").exists()
    shown = run("campaign", "show", "one.fedquad.zip")
    assert "one: finished, in one.fedquad.zip" in shown.out, shown.err
    assert run("campaign", "show", "one.fedquad.zip", "--json").document["arms"] == found["arms"]
    with archive.opened(Path("one.fedquad.zip")) as there:
        assert there.summarise() == found
    assert not there.path.exists()


def test_the_same_campaign_makes_the_same_archive_where_it_is_told_to(run: Any, tmp_path: Path) -> None:
    folder = handmade.make("one", handmade.spec())
    for name in ("a.zip", "b.zip"):
        archive.write(folder, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    said = run("campaign", "export", "one", "--to", "deep/er.zip", "--json").document
    assert said == {
        "archive": str(tmp_path / "deep" / "er.zip"),
        "bytes": (tmp_path / "deep" / "er.zip").stat().st_size,
    }
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_campaign_at_work_or_damaged_is_not_exported(run: Any, tmp_path: Path) -> None:
    described = handmade.spec()
    folder = handmade.make("one", described)
    with folder.open(described):
        assert run("campaign", "export", "one").code == 6
    (folder.arm("fedlora", 0).state_path / "round-0003.safetensors").write_bytes(b"")
    assert run("campaign", "export", "one").code == StoreError.exit_code
    assert not (tmp_path / "one.fedquad.zip").exists()


def test_archives_are_compared_with_campaigns(run: Any) -> None:
    handmade.make("a", handmade.spec("fedquad"))
    handmade.make("b", handmade.spec("fedlora"))
    assert run("campaign", "export", "b").code == 0
    said = run("campaign", "compare", "a", "b.fedquad.zip", "--to", "page", "--json")
    assert [row["label"] for row in said.document["comparison"]["methods"]] == ["a/fedquad", "b/fedlora"], said.err


def sealed(entries: Entries) -> Entries:
    """The entries under a list that tells the truth about them."""
    import hashlib

    listed = {name: hashlib.sha256(data).hexdigest() for name, data in entries.items() if name != archive.INDEX}
    known = {key: value for key, value in json.loads(entries[archive.INDEX]).items() if key != files.SEAL} | {
        "files": listed
    }
    return {**entries, archive.INDEX: files.line({**known, files.SEAL: files.digest_of(known)})}


def more(name: str, data: bytes = b"{}") -> Callable[[Entries], Entries]:
    return lambda entries: sealed({**entries, name: data})


def changed(**known: Any) -> Callable[[Entries], Entries]:
    def change(entries: Entries) -> Entries:
        index = {key: value for key, value in json.loads(entries[archive.INDEX]).items() if key != files.SEAL} | known
        return {**entries, archive.INDEX: files.line({**index, files.SEAL: files.digest_of(index)})}

    return change


def other_adapter(entries: Entries) -> Entries:
    """Another adapter under its own list, but not under the note that names its state."""
    return sealed({**entries, "arms/fedlora-s0/best/adapter_config.json": b'{"r": 9}'})


def raised(entries: Entries) -> Entries:
    """A round that scored better than it did, under a list that says so."""
    name = "arms/fedlora-s0/state/round-0002.json"
    return sealed({**entries, name: entries[name].replace(b'"accuracy": 0.5', b'"accuracy": 0.9')})


BAD = {
    "a way out": (more("../../evil"), "is no path of a campaign"),
    "an absolute path": (more("/tmp/evil"), "is no path of a campaign"),
    "a way out of an arm": (more("arms/../../evil"), "is no path of a campaign"),
    "a hidden file": (more("arms/fedlora-s0/.bashrc"), "is no path of a campaign"),
    "a backslash": (more("arms\\..\\evil"), "is no path of a campaign"),
    "a folder": (more("report/"), "is no path of a campaign"),
    "code": (more("arms/fedlora-s0/state/evil.py"), "is no path of a campaign"),
    "one that is not listed": (lambda entries: {**entries, "report/more": b""}, "does not hold what it lists"),
    "one that is missing": (lambda entries: {k: v for k, v in entries.items() if k != "spec.yaml"}, "does not hold what it lists"),
    "a changed file": (lambda entries: {**entries, "spec.yaml": entries["spec.yaml"] + b"# more\n"}, "was changed"),
    "a changed list": (lambda entries: {**entries, archive.INDEX: entries[archive.INDEX].replace(b"one", b"two")}, "was changed"),
    "no list": (lambda entries: {k: v for k, v in entries.items() if k != archive.INDEX}, "is no campaign's archive"),
    "a list that is none": (lambda entries: {**entries, archive.INDEX: b"[" * 10_000}, "cannot be read"),
    "a name that is none": (changed(campaign="../evil"), "is no campaign's name"),
    "a later schema": (changed(schema=2), "use the version that wrote it"),
    "a bomb": (more("report/bomb", bytes(2**26)), "times as many"),
    "another adapter": (other_adapter, "is not of the round it says"),
    "a better round": (raised, "was changed"),
}  # fmt: skip


@pytest.fixture(scope="module")
def entries(tmp_path_factory: Any) -> Entries:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        handmade.home_is(home, patch)
        archive.write(handmade.make("one", handmade.spec()), home / "one.zip")
    with zipfile.ZipFile(home / "one.zip") as good:
        return {name: good.read(name) for name in good.namelist()}


def pack(path: Path, entries: Entries) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in entries.items():
            made.writestr(name, data)


def refused(path: Path, into: Path) -> str:
    """The line in which an archive is refused; nothing of it lies anywhere but in the folder for it."""
    into.mkdir()
    before = {entry for entry in into.parent.rglob("*") if into not in entry.parents}
    with pytest.raises(FedquadError) as error, archive.opened(path):
        pass
    with contextlib.suppress(FedquadError):
        archive.unpack(path, into)
    assert before == {entry for entry in into.parent.rglob("*") if into not in entry.parents}
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_archive_of_ours_is_refused_by_what_is_wrong(kind: str, entries: Entries, tmp_path: Path) -> None:
    change, words = BAD[kind]
    pack(tmp_path / "bad.zip", change(entries))  # type: ignore[operator]
    assert words in refused(tmp_path / "bad.zip", tmp_path / "into"), kind
    pack(tmp_path / "good.zip", entries)
    with archive.opened(tmp_path / "good.zip") as folder:  # what was changed is what was wrong
        assert isinstance(folder, CampaignFolder)


def test_links_doubles_and_locked_entries_are_refused(entries: Entries, tmp_path: Path) -> None:
    link = tmp_path / "link.zip"
    with zipfile.ZipFile(link, "w") as made:
        for name, data in sealed({**entries, "report/link": b"/etc/passwd"}).items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = ((stat.S_IFLNK if name == "report/link" else stat.S_IFREG) | 0o777) << 16
            made.writestr(entry, data)
    assert "is no plain file" in refused(link, tmp_path / "a")
    double = tmp_path / "double.zip"
    pack(double, entries)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(double, "a") as made:
        made.writestr("spec.yaml", b"arms: []")
    assert "is in it twice" in refused(double, tmp_path / "b")
    locked = tmp_path / "locked.zip"
    pack(locked, entries)
    data = bytearray(locked.read_bytes())
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<H", data, at + 8, 1)
    locked.write_bytes(data)
    assert "is encrypted" in refused(locked, tmp_path / "c")


def test_sizes_that_lie_are_found_out(entries: Entries, tmp_path: Path) -> None:
    """The directory says less than there is, or more than is taken."""
    for said, name in ((10, "less"), (2**31, "more")):
        path = tmp_path / f"{name}.zip"
        pack(path, entries)
        data = bytearray(path.read_bytes())
        at = data.index(b"PK\x01\x02")
        while data[at + 46 : at + 46 + 9] != b"spec.yaml":
            at = data.index(b"PK\x01\x02", at + 4)
        struct.pack_into("<I", data, at + 24, said)
        path.write_bytes(data)
        assert refused(path, tmp_path / name)


def test_what_is_no_zip_and_no_file_is_refused(tmp_path: Path, entries: Entries) -> None:
    pack(tmp_path / "whole.zip", entries)
    (tmp_path / "half.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:-200])
    (tmp_path / "text.zip").write_text("hello")
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "folder.zip").mkdir()
    for name in ("half", "text", "pipe", "folder", "none"):
        with pytest.raises(StoreError), archive.opened(tmp_path / f"{name}.zip"):
            pass
