"""Real devices from end to end, on loopback: `fedquad up`, six `fedquad device serve` with data of their own, a campaign as the UI
makes one, and the same bits from the simulated fleet over the same folders; also where MLflow, which is the exchange too, is away
as a round is sent out.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fleet_facts
import pytest
from real_campaigns import PROGRAM, fedquad
from real_fleet import BOARDS, RealFleet, campaign, trainer_note, until
from real_home import Home

pytestmark = [pytest.mark.server, pytest.mark.fleet, pytest.mark.timeout(1800)]
DEVICES = {
    "jetson-tx2": ("tx2-0", "tx2-1"),
    "jetson-xavier-nx": ("nx-0", "nx-1"),
    "jetson-agx-xavier": ("agx-0", "agx-1"),
}
ROUNDS, REPLAYED = 5, 2
AWAY_SECONDS = 10.0  # longer than what asks once is patient for (artifact_proxy.PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def home(real_home: Home) -> Home:
    return real_home


@pytest.fixture(scope="module")
def fleet(home: Home) -> Iterator[RealFleet]:
    """Six devices of three boards, their number of examples each another."""
    made = RealFleet(home, exchange="mlflow")
    made.give_tests(32)
    try:
        for board, names in DEVICES.items():
            for number, name in enumerate(names):
                made.serve(board, name, made.give_data(board, name, 20 + 7 * number))
        for names in DEVICES.values():
            for name in names:
                until(lambda name=name: trainer_note(home, name), 600)
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def from_the_page(home: Home, fleet: RealFleet) -> dict[str, Any]:
    """A campaign scheduled as Prefect's page does it, on the worker that `up` started."""
    spec = {
        "data": {
            "name": "mini-nli", "partition": "local", "source": str(fleet.source),
            "text_columns": ["premise", "hypothesis"], "label_column": "label",
        },
        "fleet": {"boards": dict.fromkeys(DEVICES, 2), "pools": {board: BOARDS[board] for board in DEVICES}, "memory": "board"},
        "training": {"steps": 2, "batch": 4},
        "arms": [{"method": "fedlora"}],
        "rounds": ROUNDS,
        "quorum": 1.0,
    }  # fmt: skip
    deployment = home.api("/deployments/name/campaign/campaign")
    made = home.api(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"name": "page", "spec": spec}})
    run = until(lambda: ended(home, made["id"]), 900, every=1.0)
    assert run["state_type"] == "COMPLETED", (run["state"]["message"], fleet.log("agx-0")[-1500:])
    return run  # type: ignore[no-any-return]


def ended(home: Home, run_id: str) -> dict[str, Any] | None:
    run = home.api(f"/flow_runs/{run_id}")
    return run if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None


def digests(home: Home, campaign: str) -> list[str]:
    return [facts["state_digest"] for facts in home.facts(campaign)]


def simulated(home: Home, fleet: RealFleet, method: str, rounds: int, devices: int, **settings: object) -> list[str]:
    """The digests of the simulated fleet over the same folders."""
    spec = fleet.spec(f"sim-{method}.yaml", method, rounds, pooled=False, devices=devices)
    return [facts["state_digest"] for facts in home.simulated(spec, method, **settings)]


def test_the_same_bits_as_the_simulated_fleet_over_the_same_folders(
    home: Home, fleet: RealFleet, from_the_page: dict[str, Any]
) -> None:
    assert digests(home, "page") == simulated(home, fleet, "fedlora", ROUNDS, 2)


def test_nothing_was_merged_twice_or_late_and_no_model_was_loaded_again(
    home: Home, fleet: RealFleet, from_the_page: dict[str, Any]
) -> None:
    rounds = fleet.facts("page", "fedlora-s0")
    assert not fleet_facts.faults(rounds)
    assert [facts["participants"] for facts in rounds] == [6] * ROUNDS
    assert {row["run"]["loads"] for facts in rounds for row in facts["assignments"]} == {1}
    runs = [row["run"] for row in rounds[-1]["assignments"]]
    assert any(a["started"] < b["ended"] and b["started"] < a["ended"] for a in runs for b in runs if a is not b)


def test_what_goes_up_is_a_delta_and_numbers(home: Home, fleet: RealFleet, from_the_page: dict[str, Any]) -> None:
    """Everything that is kept between machines: no text of a device's is in it."""
    words = {line["premise"] for folder in fleet.source.glob("devices/*/*") for line in lines(folder / "train.jsonl")}
    kept = [path for path in (home.home / "mlartifacts").rglob("*") if path.is_file()] + list(
        home.home.glob("prefect/*.db*")
    )
    assert words
    for path in kept:
        content = path.read_bytes()
        assert not [word for word in words if word.encode() in content], path


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def through_an_outage(home: Home, fleet: RealFleet, from_the_page: dict[str, Any]) -> list[dict[str, Any]]:
    """FedQuad's rounds on a device of each board; MLflow, tracking and exchange in one, is killed after the first and started again later."""
    with campaign(fleet, fleet.spec("real.yaml", "fedquad", REPLAYED, devices=1), {"quorum": 1.0}) as told:
        told.after(1)
        os.killpg(told.process.pid, signal.SIGSTOP)  # before it sends the next one out
        home.kill("mlflow")
        os.killpg(told.process.pid, signal.SIGCONT)
        time.sleep(AWAY_SECONDS)
        home.up()
        return told.finished()


def test_an_exchange_that_is_away_as_a_round_is_sent_out_costs_no_device(
    fleet: RealFleet, through_an_outage: list[dict[str, Any]]
) -> None:
    assert not fleet_facts.faults(through_an_outage)
    assert [facts["failures"] for facts in through_an_outage] == [0] * REPLAYED
    logs = [fleet.office.folder / f"{name}.log" for name in ("real", "agx-0", "nx-0", "tx2-0")]
    assert any("asking again" in log.read_text() for log in logs)  # on a fast machine the round is out, and devices ask


def test_mlflow_hears_afterwards_of_the_rounds_it_missed(home: Home, through_an_outage: list[dict[str, Any]]) -> None:
    metrics = sqlite3.connect(f"file:{home.home / 'mlflow.db'}?mode=ro", uri=True)
    query = (
        "select m.step from metrics m join tags t on t.run_uuid = m.run_uuid "
        "where m.key = 'quality/accuracy' and t.key = 'campaign' and t.value = 'real'"
    )
    told = {step for (step,) in metrics.execute(query)}
    assert told >= set(range(1, REPLAYED + 1)), metrics.execute("select distinct key from metrics").fetchall()


def test_fedquad_is_replayed_from_its_facts(
    home: Home, fleet: RealFleet, through_an_outage: list[dict[str, Any]]
) -> None:
    recorded = fedquad("fleet", "record", "real", "--to", "trace.json", env=home.env, cwd=home.folder)
    assert recorded.returncode == 0, recorded.stderr
    assert digests(home, "real") == simulated(home, fleet, "fedquad", REPLAYED, 1, **{"fleet.trace": "trace.json"})


def test_no_secret_is_in_a_log_a_command_line_or_an_artifact(
    home: Home, fleet: RealFleet, from_the_page: dict[str, Any]
) -> None:
    secrets = [home.servers.prefect_auth.partition(":")[2].encode(), home.servers.mlflow_password.encode()]
    assert all(len(one) > 15 for one in secrets)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            said = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        assert not any(one in said for one in secrets), said
    allowed = {"credentials.json"}
    for path in [*home.folder.glob("*.log"), *home.home.rglob("*")]:
        if path.is_file() and path.name not in allowed and path.suffix not in (".sock",):
            content = path.read_bytes()
            assert not any(one in content for one in secrets), path


def test_readmes_four_lines_are_two_devices_that_train(home: Home, fleet: RealFleet) -> None:
    fleet.end()  # who says goodbye, so that nobody counts on them
    block = re.search(
        r"```shell\n(fedquad up\n.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL
    )
    assert block is not None
    *first, campaign = block.group(1).splitlines()
    assert len(first) == 3
    script = "\n".join(first)
    shell = subprocess.Popen(
        ["bash", "-c", f"{script}\nwait"], env={**home.env, "PATH": f"{Path(PROGRAM).parent}:{os.environ['PATH']}"},
        cwd=home.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        answer = fedquad(*campaign.split()[1:], "--rounds", "1", "--methods", "fedlora", env=home.env, cwd=home.folder)
        assert answer.returncode == 0, answer.stderr
        rounds = fleet.facts("own-devices", "fedlora-s0")
        assert [sorted(row["run"]["name"] for row in facts["assignments"]) for facts in rounds] == [["a-0", "a-1"]]
        assert not fleet_facts.faults(rounds)
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        shell.wait(timeout=30)
