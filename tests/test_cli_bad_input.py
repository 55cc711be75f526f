"""Bad input of every kind ends in one line on stderr and the exit code that docs/exit-codes.md gives it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import handmade
import pytest
from commands import Said, fedquad

from fedquad.store import campaign as store
from fedquad.store import lock

YAML = "arms: [{method: fedlora}]\nrounds: 2\n"
RUN = ("campaign", "run")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: Any, capsys: Any) -> Any:
    handmade.home_is(tmp_path / "home", monkeypatch)
    monkeypatch.setitem(sys.modules, "flows.launch", None)  # nothing may start: importing it would be an ImportError
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ok.yaml").write_text(YAML)

    def run(*arguments: str) -> Said:
        return fedquad(capsys, monkeypatch, *arguments)

    return run


def one_line(said: Said, code: int, *words: str) -> None:
    assert said.code == code, said
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("fedquad: ")
    assert said.out == ""
    for word in words:
        assert word in said.err, said.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("campaign", "run", "quickstrat"), 4, ["no preset 'quickstrat'", "quickstart"]),
        (("campaign", "run", "none.yaml"), 3, ["none.yaml", "cannot be read"]),
        (("campaign", "show", "nothing"), 4, ["no campaign 'nothing'"]),
        (("campaign", "resume", "nothing"), 4, ["no campaign 'nothing'"]),
        (("campaign", "verify", "nothing"), 4, ["no campaign 'nothing'"]),
        (("campaign", "show", "a/b"), 3, ["'a/b'", "slash"]),
        ((*RUN, "ok.yaml", "--name", "a/b"), 3, ["'a/b'", "slash"]),
        ((*RUN, "ok.yaml", "--name", "../up"), 3, ["slash"]),
        ((*RUN, "ok.yaml", "--name", ""), 3, ["cannot be named"]),
        ((*RUN, "ok.yaml", "--rounds", "-1"), 3, ["rounds is -1"]),
        ((*RUN, "ok.yaml", "--rounds", "many"), 2, ["--rounds"]),
        ((*RUN, "ok.yaml", "--bogus"), 2, ["--bogus"]),
        (("campaign", "fly"), 2, ["fly"]),
        ((*RUN, "ok.yaml", "--seeds", "0,x"), 3, ["--seeds", "'x'"]),
        ((*RUN, "ok.yaml", "--seeds", "0,0"), 3, ["distinct"]),
        ((*RUN, "ok.yaml", "--seeds", "-4"), 3, ["not negative"]),
        ((*RUN, "ok.yaml", "--methods", "fedlora,,"), 3, ["--methods"]),
        ((*RUN, "ok.yaml", "--methods", "fedlore"), 4, ["no method 'fedlore'", "fedlora"]),
        ((*RUN, "ok.yaml", "--methods", "fedlora:orakel"), 4, ["variant", "'orakel'", "oracle"]),
        ((*RUN, "ok.yaml", "--methods", "fedlora,fedlora"), 3, ["label of its own"]),
        ((*RUN, "ok.yaml", "--methods", "./mine.py"), 4, ["mine.py"]),
        ((*RUN, "ok.yaml", "--set", "rounds"), 3, ["key.path=value"]),
        ((*RUN, "ok.yaml", "--set", "=3"), 3, ["key.path=value"]),
        ((*RUN, "ok.yaml", "--set", "rounds={"), 3, ["not YAML"]),
        ((*RUN, "ok.yaml", "--set", "rouns=3"), 3, ["rouns", "'rounds'"]),
        ((*RUN, "ok.yaml", "--set", "training.bach=3"), 3, ["training.bach", "'batch'"]),
        ((*RUN, "ok.yaml", "--set", "fleet.x.y=3"), 3, ["fleet.x"]),
        ((*RUN, "ok.yaml", "--set", "rounds.x=3"), 3, ["rounds.x", "not a group"]),
        ((*RUN, "ok.yaml", "--set", "arms.fedlora.params.depht=3"), 3, ["no parameter 'depht'"]),
        ((*RUN, "ok.yaml", "--set", "arms.fedlora.lable=x"), 3, ["lable", "'label'"]),
        ((*RUN, "ok.yaml", "--set", "arms.fedlora.label=a/b"), 3, ["slash"]),
        ((*RUN, "ok.yaml", "--set", "arms.fedx.label=a"), 3, ["no arm 'fedx'", "fedlora"]),
        ((*RUN, "ok.yaml", "--set", "training.batch=many"), 3, ["training.batch", "'many'"]),
        ((*RUN, "ok.yaml", "--set", "training.batch=-8"), 3, ["training.batch is -8"]),
        ((*RUN, "ok.yaml", "--set", "training.batch=2.5"), 3, ["training.batch", "2.5"]),
        ((*RUN, "ok.yaml", "--set", "training=5"), 3, ["training", "group of settings"]),
        ((*RUN, "ok.yaml", "--set", "fleet.boards.jetson-tx2=-1"), 3, ["fleet.boards.jetson-tx2 is -1"]),
        ((*RUN, "ok.yaml", "--set", "fleet.spread=9x"), 3, ["fleet.spread", "9x"]),
        ((*RUN, "ok.yaml", "--set", "model.rank=0"), 3, ["model.rank is 0"]),
    ],
)  # fmt: skip
def test_a_wrong_command_line_ends_in_one_line(
    run: Any, arguments: tuple[str, ...], code: int, words: list[str]
) -> None:
    one_line(run(*arguments), code, *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rounds: [1", ["bad.yaml line", "not YAML"]),
        ("- a\n- b\n", ["list", "mapping"]),
        ("", ["NoneType", "mapping"]),
        ("rouns: 3\n", ["rouns", "'rounds'"]),
        ("training: {bach: 8}\n", ["training.bach", "'batch'"]),
        ("fleet: {size: 9}\n", ["fleet.size"]),
        ("cost: {x: 9}\n", ["cost.x"]),
        ("model: {x: 9}\n", ["model.x"]),
        ("data: {x: 9}\n", ["data.x"]),
        ("arms: [{method: fedlora, seed: 9}]\n", ["arms.0.seed"]),
        ("arms: 3\n", ["arms"]),
        ("arms: []\n", ["at least one arm"]),
        ("model:\n", ["model", "group of settings"]),
        ("rounds: -3\n", ["rounds is -3"]),
        ("stop: target\n", ["target"]),
        ("model: {rank: 0}\ntraining: {batch: x}\nrouns: 3\n", ["model.rank", "training.batch", "rouns"]),
    ],
)
def test_a_wrong_file_ends_in_one_line(run: Any, text: str, words: list[str]) -> None:
    Path("bad.yaml").write_text(text)
    one_line(run(*RUN, "bad.yaml"), 3, *words)


def test_nothing_is_written_for_a_wrong_campaign(run: Any) -> None:
    run(*RUN, "ok.yaml", "--methods", "fedlore")
    assert not store.home().exists()


def test_a_changed_spec_under_the_same_name_is_refused_with_the_difference(run: Any) -> None:
    with store.campaign("ok").open(handmade.spec(rounds=5)):
        pass
    one_line(run(*RUN, "ok.yaml"), 7, "rounds: 5 -> 2", "--fresh", "--name")


def test_a_second_process_on_the_same_campaign_is_told_who_has_it(run: Any) -> None:
    folder = store.campaign("ok")
    with lock.hold(folder.path / "lock", "ok"):
        one_line(run(*RUN, "ok.yaml"), 6, "'ok'", f"process {os.getpid()}")
        one_line(run(*RUN, "ok.yaml", "--fresh"), 6) if folder.exists() else None


def test_a_read_only_home_ends_in_one_line(run: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("FEDQUAD_HOME", "/proc/fedquad")  # nobody can write there, root neither
    one_line(run(*RUN, "ok.yaml"), 5, "/proc/fedquad", "cannot be written", "FEDQUAD_HOME")


def test_a_home_that_is_a_file_ends_in_one_line(run: Any, monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEDQUAD_HOME", str(tmp_path / "file"))
    one_line(run(*RUN, "ok.yaml"), 5, "cannot be written")


def test_a_spec_on_disk_that_somebody_damaged_ends_in_one_line(run: Any) -> None:
    folder = handmade.make("hurt", handmade.spec(), 1)
    (folder.path / "spec.yaml").write_text("rounds: [1")
    one_line(run("campaign", "show", "hurt"), 5, "spec.yaml", "cannot be read")


def test_a_full_disk_ends_in_one_line(tmp_path: Path) -> None:
    """A tmpfs of a few pages, where this user may mount one; every size in between ends the same way."""
    script = f"""
        mount -t tmpfs -o size=SIZE none {tmp_path} || exit 77
        head -c 1G /dev/zero > {tmp_path}/filler 2>/dev/null
        FEDQUAD_HOME={tmp_path} exec {Path(sys.executable).with_name("fedquad")} campaign run
    """
    for size in ("4k", "16k"):
        command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script.replace("SIZE", size)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode in (1, 77) and "mount" in done.stderr + "unshare":
            pytest.skip("this user may not mount a tmpfs")
        assert done.returncode == 5, done
        assert done.stderr.count("\n") == 1
        assert "No space left" in done.stderr
