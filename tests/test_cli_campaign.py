"""The campaign commands over campaigns made by hand: what they print, for people and as JSON."""

import json
import shutil
from pathlib import Path
from typing import Any

import handmade
import pytest
from commands import Said, fedquad

from fedquad.cli import check
from fedquad.errors import SpecError, StoreError
from fedquad.spec_text import plain
from fedquad.store import campaign as store
from fedquad.store import files, speed


@pytest.fixture
def run(tmp_path: Path, monkeypatch: Any, capsys: Any) -> Any:
    handmade.home_is(tmp_path / "home", monkeypatch)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, columns: int = 100) -> Said:
        monkeypatch.setenv("COLUMNS", str(columns))
        return fedquad(capsys, monkeypatch, *arguments)

    return run


def test_a_home_without_campaigns_says_how_to_begin(run: Any) -> None:
    said = run("campaign", "list")
    assert (said.code, "fedquad campaign run" in said.out) == (0, True)
    assert run("campaign", "list", "--json").document["campaigns"] == []


def test_list_shows_how_far_each_campaign_is(run: Any) -> None:
    handmade.make("done", handmade.spec("fedlora", "fedlora:oracle"))
    handmade.make("half", handmade.spec(rounds=4), 2)
    handmade.make("lost", handmade.spec(rounds=4), 1).arm("fedlora", 0).note_failure("no device answered")
    rows = {row["campaign"]: row for row in run("campaign", "list", "--json").document["campaigns"]}
    assert {name: row["state"] for name, row in rows.items()} == {
        "done": "finished",
        "half": "stopped",
        "lost": "failed",
    }
    assert (rows["half"]["rounds_done"], rows["half"]["rounds"]) == (2, 4)
    assert "done" in run("campaign", "list").out


def test_a_campaign_that_is_being_run_says_so(run: Any) -> None:
    described = handmade.spec(rounds=4)
    with handmade.make("busy", described, 1).open(described):
        assert run("campaign", "show", "busy", "--json").document["state"] == "running"


def test_show_as_json_is_the_summary_unrounded_with_spec_and_state(run: Any) -> None:
    folder = handmade.make("one", handmade.spec())
    document = run("campaign", "show", "one", "--json").document
    assert document["spec"] == plain(handmade.spec())
    assert document["state"] == "finished"
    assert document["arms"] == folder.summarise()["arms"]
    assert document["arms"][0]["rounds"][0]["accuracy"] == 0.3 + 0.1


def test_show_names_figures_settings_fleet_and_digests(run: Any) -> None:
    handmade.make("one", handmade.spec())
    out = run("campaign", "show", "one").out
    for words in ("60.0", "15.0 MB", "4.5 kJ", "2 jetson-tx2", "rounds", "an abacus", "a" * 64, "finished"):
        assert words in out, out


def test_the_fleet_says_how_it_is_priced(run: Any) -> None:
    from fedquad.spec import CostSpec

    handmade.make("own", handmade.spec())
    handmade.make("big", handmade.spec(cost=CostSpec(priced_as="roberta-base")))
    assert "those of mini, the model trained" in " ".join(run("campaign", "show", "own").out.split())
    assert "those of roberta-base, though mini is trained" in " ".join(run("campaign", "show", "big").out.split())


@pytest.mark.parametrize("columns", [80, 100, 200])
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_tables_fit_their_terminal_and_lose_nothing(run: Any, columns: int, seeds: tuple[int, ...]) -> None:
    handmade.make("wide", handmade.spec("fedlora", "fedlora:oracle", seeds=seeds))
    for arguments in (("campaign", "show", "wide"), ("campaign", "list"), ("campaign", "presets")):
        lines = run(*arguments, columns=columns).out.splitlines()
        assert max(len(line) for line in lines if not line.startswith("wide:")) <= columns
        assert not any("…" in line for line in lines)


def test_a_failed_arm_shows_why(run: Any) -> None:
    handmade.make("lost", handmade.spec(rounds=4), 1).arm("fedlora", 0).note_failure("no device answered, twice")
    assert "fedlora s0 failed: no device answered, twice" in run("campaign", "show", "lost").out


def test_a_finished_campaign_prints_its_table_and_says_so(run: Any, monkeypatch: Any) -> None:
    tracked = handmade.make("some", handmade.spec())
    write_spec("some.yaml")
    note_tracked(tracked)
    for arguments in (("campaign", "run", "some.yaml"), ("campaign", "resume", "some")):
        said = run(*arguments)
        assert said.code == 0
        assert "has finished" in said.err
        assert "--fresh" in said.err
        for words in ("60.0", "fedquad campaign show some", "mlflow ui --backend-store-uri sqlite:///", "/best"):
            assert words in said.out, said.out
        assert run(*arguments, "--json").document == tracked.summarise()


@pytest.fixture
def known_speed() -> None:
    """A machine whose speed is known already."""
    for model in ("mini", speed.ANY):
        speed.note(model, 1e10, "an abacus")


def test_presets_come_in_groups_with_what_they_are_for_and_take(run: Any, known_speed: None) -> None:
    document = run("campaign", "presets", "--json").document
    rows = {row["preset"]: row for row in document["presets"]}
    assert all(row["about"] and row["expected"]["source"] == "an abacus" for row in rows.values())
    assert rows["mini-table-3"]["expected"]["seconds"] > 5 * rows["mini-table-4"]["expected"]["seconds"]
    assert "mini-fig7a" in rows["mini-table-3"]["also"]
    out = run("campaign", "presets").out
    places = [
        out.index(words) for words in ("The paper's figures", "mini-fig2", "The paper's own", "To begin", "quick")
    ]
    assert places == sorted(places)


def test_a_run_says_first_how_long_it_takes_and_learns_from_it(run: Any, monkeypatch: Any) -> None:
    from flows import launch

    write_spec("some.yaml")
    monkeypatch.setattr(launch, "run", lambda spec, name, **_: handmade.make(name, spec).summarise())
    said = run("campaign", "run", "some.yaml")
    assert (said.code, "not known yet" in said.err) == (0, True), said.err
    assert speed.rates()["mini"]["source"] == "campaign some"
    write_spec("other.yaml")
    assert "by campaign some" in run("campaign", "run", "other.yaml").err


def test_the_speed_of_another_machine_or_a_damaged_one_is_unknown(run: Any, known_speed: None) -> None:
    path = store.home() / "cache" / "speed.json"
    for change in ({"machine": "an abacus"}, {"cores": 10_000}, {"rates": {"mini": 3}}, {"rates": {"mini": {}}}):
        files.write_json(path, {**files.read_json(path), **change})
        assert speed.rates() == {}
        speed.note("mini", 1e10, "an abacus")
    path.write_text("{")
    assert speed.rates() == {}


def test_the_keys_of_set_are_listed_with_what_they_mean(run: Any) -> None:
    said = run("campaign", "run", "--keys", columns=200)
    assert said.code == 0
    assert "training.learning_rate" in said.out
    assert "AdamW learning rate" in said.out


def test_verify_needs_a_finished_round(run: Any) -> None:
    handmade.make("none", handmade.spec(), 0)
    assert run("campaign", "verify", "none").code == 3


def test_verify_names_the_round_and_what_differs_around_it(run: Any, tmp_path: Path) -> None:
    stored = handmade.make("twice", handmade.spec(), 2)
    again = store.CampaignFolder(tmp_path / "again" / "twice")
    shutil.copytree(stored.path, again.path)
    same = check.compare(stored, again.path, handmade.spec(), 2)
    assert (same["rounds_compared"], same["differences"]) == (2, [])
    assert "all bits the same" in check.describe(same)

    path = again.arm("fedlora", 0).state_path / "round-0002.json"
    changed = files.read_json(path)
    changed["facts"]["state_digest"] = "f" * 64
    files.write_sealed(path, changed)
    other = check.compare(stored, again.path, handmade.spec(), 2)
    assert [d["round"] for d in other["differences"]] == [2]
    assert "fedlora s0 round 2" in check.describe(other)
    assert "machine: an abacus -> " in check.blame(other)


BROKEN = {
    "arm.json": b"[]",
    "state/round-0002.json": b"[" * 100_000,
    "../../spec.yaml": b"arms: &a [*a]",
}


def test_a_broken_campaign_shows_as_one_and_hides_no_other(run: Any) -> None:
    for at, (name, content) in enumerate(BROKEN.items()):
        folder = handmade.make(f"broken{at}", handmade.spec())
        (folder.arm("fedlora", 0).path / name).write_bytes(content)
    handmade.make("sound", handmade.spec())
    rows = {row["campaign"]: row for row in run("campaign", "list", "--json").document["campaigns"]}
    assert rows["sound"]["state"] == "finished"
    said = run("campaign", "list")
    assert (said.code, "sound" in said.out) == (0, True)
    for at in range(len(BROKEN)):
        assert rows[f"broken{at}"]["state"] == "broken"
        assert f"broken{at}" in said.out
        for command in ("show", "resume"):
            refused = run("campaign", command, f"broken{at}")
            assert (refused.code, refused.out, len(refused.err.splitlines())) == (StoreError.exit_code, "", 1)


def test_a_finished_campaign_is_checked_before_it_is_shown_or_gone_on_with(run: Any) -> None:
    folder = handmade.make("done", handmade.spec())
    (folder.path / "summary.json").write_text('{"arms": []}')
    assert len(run("campaign", "show", "done", "--json").document["arms"]) == 1  # derived, whatever the file says
    path = folder.arm("fedlora", 0).state_path / "round-0001.json"
    path.write_text(path.read_text().replace('"accuracy": 0.4', '"accuracy": 0.9', 1))
    for command in ("show", "resume"):
        said = run("campaign", command, "done")
        assert (said.code, "round-0001.json was changed" in said.err) == (StoreError.exit_code, True)
    path.write_text(path.read_text().replace('"accuracy": 0.9', '"accuracy": 0.4', 1))
    assert run("campaign", "show", "done").code == 0
    (folder.arm("fedlora", 0).state_path / "round-0003.safetensors").write_bytes(b"")
    said = run("campaign", "resume", "done")
    assert (said.code, "round-0003.safetensors" in said.err) == (StoreError.exit_code, True)


def test_code_that_a_folder_names_runs_only_when_it_is_trusted(run: Any, tmp_path: Path) -> None:
    path, ran = tmp_path / "stranger.py", tmp_path / "ran"
    path.write_text(f"open({str(ran)!r}, 'w')\nfrom fedquad.strategies.fedlora import strategy\n")
    for method in (str(path), f"{path}:oracle"):
        name = "theirs" + str(len(method))
        note_tracked(handmade.make(name, handmade.spec(method)))
        for command in ("list", "show", "resume", "verify"):
            said = run("campaign", command, *([name] if command != "list" else []))
            assert not ran.exists(), command
            if command in ("resume", "verify"):
                assert said.code == SpecError.exit_code
                assert (
                    f"names code that is not installed as its methods: {method}; read it, then say --trust-methods"
                    in said.err
                )
    run("campaign", "resume", name, "--trust-methods")
    assert ran.exists()


def test_going_back_to_a_round_that_is_not_kept_lists_those_that_are(run: Any) -> None:
    folder = handmade.make("back", handmade.spec(rounds=5))
    said = run("campaign", "resume", "back", "--from-round", "1")
    assert (said.code, "it keeps those of 4, 5" in said.err) == (StoreError.exit_code, True)
    assert folder.arm("fedlora", 0).last_number() == 5


def write_spec(name: str) -> None:
    Path(name).write_text(json.dumps(plain(handmade.spec())))  # JSON is YAML


def note_tracked(folder: store.CampaignFolder) -> None:
    for arm in folder.arms():
        cursor = {"uri": "", "key": "", "start_ms": 0, "run_id": "", "best_accuracy": 0.0, "supersedes": []}
        files.write_sealed(arm.path / "tracking.json", {**cursor, "status": "FINISHED", "sent_rounds": 3})
