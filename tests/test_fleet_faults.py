"""What happens to real devices, each for real: killed, stopped, silent, lying; and what becomes of the campaign.

One story of six rounds, in which four devices and the servers have one fault after the other; every test looks at its own.

    round 1   the coordinator is killed while one device trains and another has answered
    round 2   a run is killed while it trains; two devices lie
    round 3   they lie
    round 4   they lie; Prefect's server is restarted while a device trains
    round 5   one never answers, one is stopped, one board is killed
    round 6   whoever is left behaves
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import fleet_facts
import psutil
import pytest
from office import Office
from real_fleet import Campaign, RealFleet, campaign, row, trainer_note, until

pytestmark = [pytest.mark.server, pytest.mark.fleet, pytest.mark.timeout(1800)]
ODD = Path(__file__).with_name("odd_trainer.py")
ROUNDS = 6
LEAST_DEADLINE, LEAST_SILENCE = 40.0, 25.0  # seconds; on a busy machine longer, by what starting the devices took
WAIT_SECONDS = 600.0  # for what has to come true in the end
HONEST, LIAR, OTHER, DYING = "agx-honest", "agx-liar", "nx-liar", "tx2-dies"
BOARDS = {
    HONEST: "jetson-agx-xavier",
    LIAR: "jetson-agx-xavier",
    OTHER: "jetson-xavier-nx",
    DYING: "jetson-tx2",
}
DEEDS = {
    LIAR: {2: "nan", 3: "truncated", 4: "foreign", 5: "held"},
    OTHER: {2: "wrong layer", 3: "stale", 4: "huge", 5: "held"},
    DYING: {1: "held", 2: "held", 4: "held", 5: "held"},
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealFleet]:
    office = Office(tmp_path_factory.mktemp("f"), keeps_events=True)
    with office.opened():
        made = RealFleet(office)
        made.give_tests(24)
        try:
            yield made
        finally:
            made.end()


@contextmanager
def odd_trainer(fleet: RealFleet, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A device whose trainer does odd things in some rounds; the trainer's process."""
    data = fleet.give_data(BOARDS[name], name, 24)
    folder = fleet.office.home / "devices" / name
    log = open(fleet.office.folder / f"{name}-trainer.log", "ab")  # noqa: SIM115
    command = [sys.executable, str(ODD), str(folder), str(data), json.dumps(DEEDS[name])]
    process = subprocess.Popen(command, env=fleet.office.env, stdout=log, stderr=log)
    fleet.serve(BOARDS[name], name, data, trainer=False)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def story(fleet: RealFleet) -> Iterator[list[dict[str, Any]]]:
    with ExitStack() as stack:
        trainers = {name: stack.enter_context(odd_trainer(fleet, name)) for name in DEEDS}
        fleet.serve(BOARDS[HONEST], HONEST, fleet.give_data(BOARDS[HONEST], HONEST, 24))
        began = time.monotonic()
        for name in BOARDS:
            wait(lambda name=name: trainer_note(fleet.office, name))
        wait(lambda: (fleet.office.home / "devices" / HONEST / "trainer.sock").exists())  # torch is imported by then
        settings = patience(time.monotonic() - began) | {"quorum": 0.25}
        told = stack.enter_context(campaign(fleet, fleet.spec("story.yaml", "fedlora", ROUNDS), settings))
        play(fleet, told, trainers)
        yield told.finished()


def patience(started_seconds: float) -> dict[str, float]:
    """How long is waited for a device: it takes 15 s to start four on two idle cores, and 10 to have a round's answer."""
    deadline = max(LEAST_DEADLINE, 3 * started_seconds)
    silence = max(LEAST_SILENCE, started_seconds)
    return {"fleet.deadline_seconds": deadline, "fleet.status_seconds": silence, "fleet.join_seconds": deadline}


def wait(holds: Callable[[], Any]) -> None:
    until(holds, WAIT_SECONDS)


def play(fleet: RealFleet, told: Campaign, trainers: dict[str, subprocess.Popen[bytes]]) -> None:
    """Do to the devices and the servers what each round is about."""
    wait(lambda: trains(fleet, DYING, 1) and state_of(fleet, HONEST, 1) == "COMPLETED")
    told.kill()
    told.process = told.start()
    go(fleet, DYING, 1)
    told.after(1)
    wait(lambda: trains(fleet, DYING, 2))
    descendants(fleet.served[DYING], "flows.forked")[-1].kill()  # of those that fork and wait, the run itself
    go(fleet, DYING, 2)
    told.after(3)
    wait(
        lambda: (
            trains(fleet, DYING, 4) and all(state_of(fleet, name, 4) == "COMPLETED" for name in (HONEST, LIAR, OTHER))
        )
    )
    fleet.office.restart()
    go(fleet, DYING, 4)
    told.after(4)
    wait(lambda: trains(fleet, OTHER, 5) and trains(fleet, DYING, 5))
    stopped = whole(fleet.served[OTHER], trainers[OTHER])
    for one in stopped:
        one.suspend()
    dead = fleet.served.pop(DYING)
    for one in whole(dead, trainers[DYING]):
        one.kill()
    dead.wait()
    wait(lambda: state_of(fleet, OTHER, 5) not in ("PENDING", "RUNNING"))
    for one in stopped:
        one.resume()


def whole(*processes: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All that runs on a board: these and what they have started."""
    found = [psutil.Process(process.pid) for process in processes]
    return [*found, *(child for one in found for child in one.children(recursive=True))]


def descendants(process: subprocess.Popen[bytes], word: str) -> list[psutil.Process]:
    """What this process has started, and that has this word in its command line."""
    with_word = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if any(word in part for part in child.cmdline()):
                with_word.append(child)
        except psutil.NoSuchProcess:
            pass
    return with_word


def trains(fleet: RealFleet, name: str, round: int) -> bool:
    return bool((fleet.office.home / "devices" / name / f"round-{round}").exists())


def go(fleet: RealFleet, name: str, round: int) -> None:
    (fleet.office.home / "devices" / name / f"go-{round}").touch()


def state_of(fleet: RealFleet, name: str, round: int) -> str:
    """What Prefect says of a device's latest run of a round."""
    body = {"flow_runs": {"name": {"like_": f"round {round} - {name}"}}, "limit": 5, "sort": "EXPECTED_START_TIME_DESC"}
    return next((run["state_type"] for run in fleet.office.api("/flow_runs/filter", body)), "")


def test_a_killed_coordinator_goes_on_uses_what_is_there_and_merges_nothing_twice(story: list[dict[str, Any]]) -> None:
    assert [facts["round"] for facts in story] == list(range(1, ROUNDS + 1))
    assert not fleet_facts.faults(story)
    assert row(story[0], HONEST)["failure"] == ""


def test_a_run_that_is_killed_is_sent_once_more(story: list[dict[str, Any]]) -> None:
    killed = row(story[1], DYING)
    assert (killed["failure"], killed["run"]["tries"]) == ("", 2)


@pytest.mark.parametrize(
    ("round", "name", "reason"),
    [
        (2, LIAR, "NaN or Inf"),
        (2, OTHER, "extra [99], missing [11]"),
        (3, LIAR, "cut short"),
        (3, OTHER, "its round is"),
        (4, LIAR, "its device is"),
        (4, OTHER, "cannot be fetched"),
    ],
)
def test_a_lie_is_refused_with_its_reason(story: list[dict[str, Any]], round: int, name: str, reason: str) -> None:
    assert reason in row(story[round - 1], name)["failure"], DEEDS[name][round]
    assert row(story[round - 1], HONEST)["failure"] == ""


def test_a_server_that_is_restarted_in_mid_round_loses_nothing(story: list[dict[str, Any]]) -> None:
    assert row(story[3], DYING)["failure"] == ""
    assert row(story[4], HONEST)["failure"] == ""


def test_a_device_that_never_answers_is_lost_at_the_deadline(story: list[dict[str, Any]]) -> None:
    assert row(story[4], LIAR)["failure"].startswith("no answer within")


def test_a_device_that_is_stopped_is_lost_and_comes_back(story: list[dict[str, Any]]) -> None:
    assert row(story[4], OTHER)["failure"].startswith(("it fell silent", "no answer within"))
    assert row(story[5], OTHER)["failure"] == ""


def test_a_dead_board_is_noticed_by_its_silence(story: list[dict[str, Any]], fleet: RealFleet) -> None:
    lost = row(story[4], DYING)
    assert lost["failure"].startswith(("it fell silent", "no answer within"))
    assert DYING not in [one["run"]["name"] for one in story[5]["assignments"]]
    run = fleet.office.api(f"/flow_runs/{lost['run']['run']}")
    assert run["state_type"] in ("CRASHED", "CANCELLED")


def test_a_liar_that_behaves_again_is_merged_again(story: list[dict[str, Any]]) -> None:
    assert row(story[5], LIAR)["failure"] == ""


def test_no_run_is_left_behind(story: list[dict[str, Any]], fleet: RealFleet) -> None:
    runs = fleet.office.api("/flow_runs/filter", {"limit": 200})
    ours = [run for run in runs if run["name"].startswith("fedlora-s0 round")]
    assert ours
    assert {run["state_type"] for run in ours} <= {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
