"""Real devices from end to end, on loopback: `fedquad up`, six `fedquad device serve` with data of their own, a campaign as the UI
makes one, and the same bits from the simulated fleet over the same folders.
"""

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fleet_facts
import pytest
from real_campaigns import PASSWORDS, PROGRAM, api, environment, fedquad
from real_fleet import BOARDS, RealFleet, trainer_note, until

from fedquad.store.servers import Servers, read_servers
from flows.server import free_port

pytestmark = [pytest.mark.server, pytest.mark.fleet, pytest.mark.timeout(900)]
DEVICES = {
    "jetson-tx2": ("tx2-0", "tx2-1"),
    "jetson-xavier-nx": ("nx-0", "nx-1"),
    "jetson-agx-xavier": ("agx-0", "agx-1"),
}
ROUNDS, REPLAYED = 5, 3


class Home:
    """What `fedquad up` runs, in a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "runs"
        self.env = environment(self.home, FEDQUAD_FOLDERS=str(folder))
        self.servers: Servers

    def up(self) -> None:
        ports = ("--port", str(free_port()), "--mlflow-port", str(free_port()))
        answer = fedquad("up", *ports, "--json", env=self.env, cwd=self.folder)
        assert answer.returncode == 0, answer.stderr
        found = read_servers(self.home / "credentials.json")
        assert found is not None
        self.servers = found
        PASSWORDS[found.prefect_url] = found.prefect_auth

    def api(self, path: str, body: Any = None, method: str = "") -> Any:
        """One request; a database that is busy for once (503) is asked again."""
        for _ in range(10):
            try:
                return api(self.servers.prefect_url, path, body, method)
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                time.sleep(1)
        raise AssertionError(f"{path}: busy for ten seconds")

    def down(self) -> None:
        subprocess.run([PROGRAM, "down"], env=self.env, cwd=self.folder, check=False, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("r"))
    try:
        made.up()
        yield made
    finally:
        made.down()


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
                until(lambda name=name: trainer_note(home, name), 180)
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
    run = until(lambda: ended(home, made["id"]), 300, every=1.0)
    assert run["state_type"] == "COMPLETED", (run["state"]["message"], fleet.log("agx-0")[-1500:])
    return run  # type: ignore[no-any-return]


def ended(home: Home, run_id: str) -> dict[str, Any] | None:
    run = home.api(f"/flow_runs/{run_id}")
    return run if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None


def digests(home: Home, campaign: str) -> list[str]:
    lines = next((home.home / "campaigns" / campaign / "arms").glob("*/rounds.jsonl")).read_text().splitlines()
    return [json.loads(line)["state_digest"] for line in lines]


def simulated(home: Home, fleet: RealFleet, method: str, rounds: int, *more: str) -> list[str]:
    spec = fleet.spec(f"sim-{method}.yaml", method, rounds, pooled=False)
    answer = fedquad("campaign", "run", str(spec), *more, env=home.env, cwd=home.folder)
    assert answer.returncode == 0, answer.stderr
    return digests(home, f"sim-{method}")


def test_the_same_bits_as_the_simulated_fleet_over_the_same_folders(
    home: Home, fleet: RealFleet, from_the_page: dict[str, Any]
) -> None:
    assert digests(home, "page") == simulated(home, fleet, "fedlora", ROUNDS)


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


def test_fedquad_is_replayed_from_its_facts(home: Home, fleet: RealFleet, from_the_page: dict[str, Any]) -> None:
    spec = fleet.spec("real.yaml", "fedquad", REPLAYED)
    answer = fedquad("campaign", "run", str(spec), env=home.env, cwd=home.folder)
    assert answer.returncode == 0, answer.stderr
    recorded = fedquad("fleet", "record", "real", "--to", "trace.json", env=home.env, cwd=home.folder)
    assert recorded.returncode == 0, recorded.stderr
    assert digests(home, "real") == simulated(home, fleet, "fedquad", REPLAYED, "--set", "fleet.trace=trace.json")


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
        answer = fedquad(*campaign.split()[1:], "--rounds", "2", "--methods", "fedlora", env=home.env, cwd=home.folder)
        assert answer.returncode == 0, answer.stderr
        rounds = fleet.facts("own-devices", "fedlora-s0")
        assert [sorted(row["run"]["name"] for row in facts["assignments"]) for facts in rounds] == [["a-0", "a-1"]] * 2
        assert not fleet_facts.faults(rounds)
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        shell.wait(timeout=30)
