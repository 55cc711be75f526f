"""What happens to real devices, each for real: killed, stopped, silent, lying; and what becomes of the campaign.

Two stories, each a campaign whose rounds have one fault; every test looks at its own round.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import fleet_facts
import psutil
import pytest
from office import Office
from real_campaigns import PROGRAM, as_in_a_terminal
from real_fleet import RealFleet, trainer_note, until

pytestmark = [pytest.mark.server, pytest.mark.fleet, pytest.mark.timeout(900)]
AGX, NX, TX2 = "jetson-agx-xavier", "jetson-xavier-nx", "jetson-tx2"
ODD = Path(__file__).with_name("odd_trainer.py")


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
def odd_trainer(fleet: RealFleet, board: str, name: str, script: dict[int, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A device whose trainer does odd things in some rounds; the trainer's process."""
    data = fleet.give_data(board, name, 24)
    folder = fleet.office.home / "devices" / name
    log = open(fleet.office.folder / f"{name}-trainer.log", "ab")  # noqa: SIM115
    command = [sys.executable, str(ODD), str(folder), str(data), json.dumps(script)]
    process = subprocess.Popen(command, env=fleet.office.env, stdout=log, stderr=log)
    fleet.serve(board, name, data, trainer=False)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Campaign:
    """A campaign in a process of its own, watched by its facts."""

    def __init__(self, fleet: RealFleet, name: str, rounds: int, settings: dict[str, Any]) -> None:
        self.fleet, self.name = fleet, name
        self.path = fleet.spec(f"{name}.yaml", "fedlora", rounds)
        self.changes = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        log = open(self.fleet.office.folder / f"{self.name}.log", "ab")  # noqa: SIM115
        return subprocess.Popen(
            [PROGRAM, "campaign", "run", str(self.path), *self.changes], env=self.fleet.office.env,
            cwd=self.fleet.office.folder, stdout=log, stderr=log, preexec_fn=as_in_a_terminal, start_new_session=True,
        )  # fmt: skip

    def facts(self) -> list[dict[str, Any]]:
        try:
            return self.fleet.facts(self.name, "fedlora-s0")
        except FileNotFoundError:
            return []

    def after(self, rounds: int) -> None:
        """Wait until so many rounds are committed."""
        until(lambda: len(self.facts()) >= rounds or self.process.poll() is not None, 240)
        assert len(self.facts()) >= rounds, self.log()

    def log(self) -> str:
        return (self.fleet.office.folder / f"{self.name}.log").read_text()[-3000:]


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


@pytest.fixture(scope="module")
def story(fleet: RealFleet) -> Iterator[list[dict[str, Any]]]:
    """Seven rounds: a killed run, a device that never answers beside one that is stopped, a dead board, a killed coordinator, a
    restarted server."""
    with ExitStack() as stack:
        odd = {
            AGX: ("agx-odd", {2: "slow", 3: "never", 6: "slow"}),
            NX: ("nx-stopped", {3: "slow"}),
            TX2: ("tx2-slow", {4: "slow"}),
        }
        trainers = {
            name: stack.enter_context(odd_trainer(fleet, board, name, deeds)) for board, (name, deeds) in odd.items()
        }
        fleet.serve(AGX, "agx-good", fleet.give_data(AGX, "agx-good", 24))
        for name in ("agx-odd", "agx-good", "nx-stopped", "tx2-slow"):
            until(lambda name=name: trainer_note(fleet.office, name), 120)
        settings = {"quorum": 0.25, "fleet.deadline_seconds": 75, "fleet.status_seconds": 25, "fleet.join_seconds": 25}
        campaign = Campaign(fleet, "story", 7, settings)
        try:
            play(fleet, campaign, trainers)
            campaign.process.wait(timeout=240)
            assert campaign.process.returncode == 0, campaign.log()
            yield campaign.facts()
        finally:
            if campaign.process.poll() is None:
                os.killpg(campaign.process.pid, signal.SIGKILL)
            fleet.end()


def play(fleet: RealFleet, campaign: Campaign, trainers: dict[str, subprocess.Popen[bytes]]) -> None:
    """Do to the devices what each round is about."""
    served = fleet.served
    campaign.after(1)
    until(lambda: trains(fleet, "agx-odd", 2), 90)  # round 2: its run is killed while it trains
    for run in descendants(served["agx-odd"], "flows.registered"):
        run.kill()
    campaign.after(2)
    until(lambda: trains(fleet, "nx-stopped", 3), 90)  # round 3: stopped past the deadline, while agx-odd never answers
    stopped = whole(served["nx-stopped"], trainers["nx-stopped"])
    for one in stopped:
        one.suspend()
    campaign.after(3)
    for one in stopped:
        one.resume()
    until(lambda: trains(fleet, "tx2-slow", 4), 90)  # round 4: the board is gone, worker, run and all
    dead = served.pop("tx2-slow")
    for one in whole(dead, trainers["tx2-slow"]):
        one.kill()
    dead.wait()
    campaign.after(4)
    until(lambda: started(fleet, "round 5"), 90)  # round 5: the coordinator is killed
    os.killpg(campaign.process.pid, signal.SIGKILL)
    campaign.process.wait()
    campaign.process = campaign.start()
    campaign.after(5)
    until(lambda: trains(fleet, "agx-odd", 6), 120)  # round 6: Prefect's server is restarted
    fleet.office.restart()


def whole(*processes: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All that runs on a board: these and what they have started."""
    found = [psutil.Process(process.pid) for process in processes]
    return [*found, *(child for one in found for child in one.children(recursive=True))]


def trains(fleet: RealFleet, name: str, round: int) -> bool:
    return bool((fleet.office.home / "devices" / name / f"round-{round}").exists())


def started(fleet: RealFleet, words: str) -> bool:
    runs = fleet.office.api("/flow_runs/filter", {"limit": 200})
    return any(words in run["name"] and run["state_type"] == "RUNNING" for run in runs)


def row(facts: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in facts["assignments"] if one["run"]["name"] == name)


def test_a_run_that_is_killed_is_sent_once_more(story: list[dict[str, Any]]) -> None:
    killed = row(story[1], "agx-odd")
    assert (killed["failure"], killed["run"]["tries"]) == ("", 2)


def test_a_device_that_never_answers_is_lost_at_the_deadline(story: list[dict[str, Any]]) -> None:
    assert row(story[2], "agx-odd")["failure"] == "no answer within 75 s"


def test_a_device_that_is_stopped_is_lost_and_comes_back(story: list[dict[str, Any]]) -> None:
    lost = row(story[2], "nx-stopped")["failure"]
    assert lost.startswith(("no answer within 75 s", "it fell silent")), lost
    assert any(row(facts, "nx-stopped")["failure"] == "" for facts in story[4:] if "nx-stopped" in json.dumps(facts))


def test_a_dead_board_is_noticed_by_its_silence(story: list[dict[str, Any]], fleet: RealFleet) -> None:
    lost = row(story[3], "tx2-slow")
    assert lost["failure"].startswith(("it fell silent", "no answer within"))
    assert all("tx2-slow" not in [one["run"]["name"] for one in facts["assignments"]] for facts in story[4:])
    run = fleet.office.api(f"/flow_runs/{lost['run']['run']}")
    assert run["state_type"] in ("CRASHED", "CANCELLED")


def test_a_killed_coordinator_goes_on_and_merges_nothing_twice(story: list[dict[str, Any]]) -> None:
    assert [facts["round"] for facts in story] == list(range(1, 8))
    assert not fleet_facts.faults(story)


def test_a_server_that_is_restarted_in_mid_round_loses_nothing(story: list[dict[str, Any]]) -> None:
    assert row(story[5], "agx-odd")["failure"] == ""
    assert row(story[6], "agx-good")["failure"] == ""


def test_no_run_is_left_behind(story: list[dict[str, Any]], fleet: RealFleet) -> None:
    ours = [
        run
        for run in fleet.office.api("/flow_runs/filter", {"limit": 200})
        if run["name"].startswith("fedlora-s0 round")
    ]
    assert ours
    assert {run["state_type"] for run in ours} <= {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


LIES = {2: "nan", 3: "wrong layer", 4: "truncated", 5: "stale", 6: "foreign", 7: "huge"}


@pytest.fixture(scope="module")
def lies(fleet: RealFleet, story: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """A liar beside an honest device, another lie each round."""
    fleet.end()  # the first story's devices say goodbye, so that nobody counts on them
    fleet.boards.clear()
    with odd_trainer(fleet, AGX, "b-liar", LIES):
        fleet.serve(AGX, "a-honest", fleet.give_data(AGX, "a-honest", 24))
        until(lambda: trainer_note(fleet.office, "b-liar"))
        campaign = Campaign(fleet, "lies", 8, {"quorum": 0.5, "fleet.join_seconds": 120})
        try:
            campaign.process.wait(timeout=400)
            assert campaign.process.returncode == 0, campaign.log()
            yield campaign.facts()
        finally:
            if campaign.process.poll() is None:
                os.killpg(campaign.process.pid, signal.SIGKILL)
            fleet.end()


@pytest.mark.parametrize(
    ("round", "reason"),
    [
        (2, "finite"),
        (3, "layers.99"),
        (4, "cut short"),
        (5, "its round is"),
        (6, "its device is"),
        (7, "cannot be fetched"),
    ],
)
def test_a_lie_is_refused_with_its_reason(lies: list[dict[str, Any]], round: int, reason: str) -> None:
    found = row(lies[round - 1], "b-liar")["failure"]
    assert reason in found, (LIES[round], found)
    assert row(lies[round - 1], "a-honest")["failure"] == ""


def test_a_liar_that_behaves_again_is_merged_again(lies: list[dict[str, Any]]) -> None:
    assert row(lies[7], "b-liar")["failure"] == ""
    assert not fleet_facts.faults(lies)
