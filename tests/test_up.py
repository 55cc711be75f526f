"""`fedquad up` for real: both servers and a worker, once for the whole file; what they do, whom they let in, how they end."""

import base64
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from real_campaigns import PASSWORDS, PROGRAM, TINY, api, environment, fedquad, flow_runs, summary
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fedquad.store import processes
from fedquad.store.servers import Servers, read_servers
from flows.invite import invite
from flows.server import free_port
from tasks.exchange_url import EXPERIMENT

pytestmark = [pytest.mark.server, pytest.mark.timeout(700)]
CHOSEN = {
    "preset": "quickstart",
    "name": "from-the-form",
    "methods": ["fedlora:exclusive"],
    "rounds": 1,
    "settings": {"data.train": 240, "data.validation": 64, "data.test": 64, "training.steps": 1, "training.batch": 4},
}
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
OPEN_TO_ALL = {("get", "/health"), ("get", "/ready")}  # whether it is well is no secret
OPEN_OF_MLFLOW = {
    ("GET", path) for path in ("/health", "/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info")
}


@dataclass
class Running:
    """What `fedquad up` has started."""

    home: Path
    env: dict[str, str]
    document: dict[str, Any]
    servers: Servers

    @property
    def passwords(self) -> list[str]:
        return [self.servers.prefect_auth.partition(":")[2], self.servers.mlflow_password]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return fedquad(*arguments, env=self.env, cwd=self.home.parent)

    def api(self, path: str, body: Any = None) -> Any:
        return api(self.servers.prefect_url, path, body)

    def mlflow(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(f"{self.servers.mlflow_url}{path}", data=json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        pair = f"{self.servers.mlflow_user}:{self.servers.mlflow_password}"
        request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def schedule(self, **parameters: Any) -> str:
        """Schedule a campaign as the UI does."""
        deployment = self.api("/deployments/name/campaign/campaign")["id"]
        made = self.api(f"/deployments/{deployment}/create_flow_run", {"parameters": {**CHOSEN, **parameters}})
        return made["id"]  # type: ignore[no-any-return]

    def wait(self, run: str, *states: str, seconds: float = 240) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while (found := self.api(f"/flow_runs/{run}"))["state_type"] not in (states or ENDED):
            assert time.monotonic() < end, (self.home / "servers" / "worker.log").read_text()[-3000:]
            time.sleep(0.5)
        return found  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("up")
    home = folder / "runs"
    env = environment(home)
    ports = ["--port", str(free_port()), "--mlflow-port", str(free_port())]
    try:
        command = [PROGRAM, "up", "--json", *ports]
        started = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=600)
        assert started.returncode == 0, started.stderr
        servers = read_servers(home / "credentials.json")
        assert servers is not None
        PASSWORDS[servers.prefect_url] = servers.prefect_auth
        yield Running(home, env, json.loads(started.stdout), servers)
    finally:
        fedquad("down", env=env, cwd=folder)


@pytest.fixture(scope="module")
def scheduled(running: Running) -> dict[str, Any]:
    """A campaign that was scheduled through the API, at its end."""
    return running.wait(running.schedule())


def test_all_of_it_is_well_on_this_machine_alone(running: Running) -> None:
    assert {row["name"]: row["state"] for row in running.document["servers"]} == dict.fromkeys(
        ("prefect", "mlflow", "worker"), "running"
    )
    listening = {
        (one.laddr.ip, one.laddr.port)
        for process in processes.marked(running.home / "servers")
        for one in process.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    }
    assert len(listening) >= 2
    assert {address for address, _ in listening} == {"127.0.0.1"}
    assert running.document["pools"]["campaigns"] == 1
    assert (running.home / "credentials.json").stat().st_mode & 0o777 == 0o600


def test_a_second_up_starts_nothing_and_changes_no_password(running: Running) -> None:
    again = running.command("up", "--json")
    assert again.returncode == 0, again.stderr
    pids = [row["pid"] for row in json.loads(again.stdout)["servers"]]
    assert pids == [row["pid"] for row in running.document["servers"]]
    assert read_servers(running.home / "credentials.json") == running.servers


def test_the_status_is_a_table_with_the_addresses_and_without_a_password(running: Running) -> None:
    said = running.command("up", "--status").stdout
    assert running.servers.prefect_url.removesuffix("/api") in said
    assert running.servers.mlflow_url in said
    assert not any(password in said for password in running.passwords)


def test_a_campaign_scheduled_as_the_ui_does_runs_on_the_worker_and_is_in_mlflow(
    running: Running, scheduled: dict[str, Any]
) -> None:
    assert scheduled["state_type"] == "COMPLETED", scheduled["state"]
    assert scheduled["name"] == "from-the-form"
    document = json.loads((running.home / "campaigns" / "from-the-form" / "summary.json").read_text())
    assert [(arm["label"], len(arm["rounds"])) for arm in document["arms"]] == [("fedlora:exclusive", 1)]
    found = running.mlflow("/api/2.0/mlflow/experiments/search", {"max_results": 10})["experiments"]
    (experiment,) = [one["experiment_id"] for one in found if one["name"] == "fedquad"]
    runs = running.mlflow("/api/2.0/mlflow/runs/search", {"experiment_ids": [experiment]})["runs"]
    tags = [{tag["key"]: tag["value"] for tag in run["data"]["tags"]} for run in runs]
    assert {tag["label"] for tag in tags if tag["campaign"] == "from-the-form"} == {"fedlora:exclusive", "all arms"}


def test_its_result_and_a_link_to_mlflow_are_in_prefect_under_stable_keys(
    running: Running, scheduled: dict[str, Any]
) -> None:
    made = {one["key"]: one for one in running.api("/artifacts/filter", {"limit": 100})}
    result = made["campaign-result"]
    assert (result["type"], result["flow_run_id"]) == ("markdown", scheduled["id"])
    assert "| fedlora:exclusive | 0 | 1 |" in result["data"]
    link = made["campaign-mlflow"]["data"]
    assert f"({running.servers.mlflow_url}/#/experiments/" in link


def test_its_log_tells_of_each_round(running: Running, scheduled: dict[str, Any]) -> None:
    wanted = {"logs": {"flow_run_id": {"any_": [scheduled["id"]]}}, "limit": 200}
    said = [one["message"] for one in running.api("/logs/filter", wanted)]
    (line,) = [one for one in said if "round 1/1" in one]
    assert re.match(r"fedlora:exclusive s0 round 1/1: accuracy [0-9.]+ %, [0-9]+ devices", line)
    assert "fedlora:exclusive s0 is finished" in said


def test_its_rounds_and_arms_are_events_of_its_runs(running: Running, scheduled: dict[str, Any]) -> None:
    wanted = {"filter": {"event": {"prefix": ["fedquad."]}}}
    end = time.monotonic() + 60
    while len(events := running.api("/events/filter", wanted)["events"]) < 2:
        assert time.monotonic() < end, events
        time.sleep(1)
    assert {one["event"] for one in events} == {"fedquad.round.committed", "fedquad.arm.finished"}
    arms = {f"prefect.flow-run.{one['id']}" for one in flow_runs(running.servers.prefect_url)}
    assert all(one["related"][0]["prefect.resource.id"] in arms for one in events)


def test_the_command_line_finds_both_servers_by_itself(running: Running) -> None:
    (running.home.parent / "tiny.yaml").write_text(TINY.replace("rounds: 3", "rounds: 1"))
    ran = running.command("campaign", "run", "tiny.yaml", "--json")
    assert len(summary(ran)["arms"]) == 2
    assert "tiny" in {run["name"] for run in flow_runs(running.servers.prefect_url)}
    arm = json.loads((running.home / "campaigns" / "tiny" / "arms" / "fedlora-s0" / "tracking.json").read_text())
    assert (arm["uri"], arm["status"]) == (running.servers.mlflow_url, "FINISHED")


def test_without_a_password_prefect_answers_no_request_but_whether_it_is_well(running: Running) -> None:
    """Every route and method that there is."""
    from prefect.server.api.server import create_api_app

    tried = 0
    for path, methods in create_api_app().openapi()["paths"].items():
        filled = path.replace("{", "").replace("}", "")
        for method in methods:
            answered = code(f"{running.servers.prefect_url}{filled}", method.upper())
            assert answered == (200 if (method, path) in OPEN_TO_ALL else 401), (method, path, answered)
            tried += 1
    assert tried > 150


@pytest.mark.parametrize("path", ["events/in", "events/out", "logs/out"])
@pytest.mark.parametrize("said", ["nothing", "a wrong password"])
def test_without_a_password_no_socket_of_prefect_says_or_takes_anything(running: Running, path: str, said: str) -> None:
    url = f"{running.servers.prefect_url.replace('http', 'ws')}/{path}"
    with connect(url, subprotocols=["prefect"]) as socket:  # type: ignore[list-item]
        word = (
            {"type": "auth", "token": "fedquad:guess"}
            if said == "a wrong password"
            else {"type": "filter", "filter": {}}
        )
        socket.send(json.dumps(word))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code in (1002, 1008)


def test_without_a_password_mlflow_answers_no_request(running: Running) -> None:
    """Every route and method that there is, but those that say whether it is well and what it can do."""
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import get_endpoints

    routes = {(method, path) for path, _, methods in get_endpoints() for method in methods}
    routes |= {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    routes |= {("GET", path) for path in ("/get-artifact", "/model-versions/get-artifact", "/signup", "/version", "/")}
    routes |= {
        ("POST", path)
        for path in ("/graphql", "/ajax-api/2.0/mlflow/users/create", "/ajax-api/3.0/mlflow/roles/create")
    }
    answered = {
        (method, path): code(f"{running.servers.mlflow_url}{re.sub('[<>{}]|path:', '', path)}", method)
        for method, path in sorted(routes)
    }
    assert {route for route, found in answered.items() if found not in (401, 403)} == OPEN_OF_MLFLOW
    assert len(routes) > 200
    pair = f"{running.servers.mlflow_user}:guess"
    assert code(f"{running.servers.mlflow_url}/api/2.0/mlflow/experiments/search?max_results=1", "GET", pair) == 401


def code(url: str, method: str, pair: str = "") -> int:
    """What a request is answered with."""
    body = b"{}" if method in ("POST", "PUT", "PATCH") else None
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": "application/json"})
    if pair:
        request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_device_of_its_own_name_sees_the_exchange_and_nothing_else_of_mlflow(running: Running) -> None:
    path = running.home.parent / "agx-07.json"
    for _ in range(2):  # the second time it gets a new password
        invite(running.servers, "agx-07", running.servers.mlflow_url, path)
    other = running.mlflow("/api/2.0/mlflow/experiments/create", {"name": "others"})["experiment_id"]
    device = read_servers(path)
    assert device is not None
    assert (device.mlflow_user, device.prefect_auth) == ("agx-07", running.servers.prefect_auth)
    pair = f"{device.mlflow_user}:{device.mlflow_password}"
    url = f"{device.mlflow_url}/api/2.0/mlflow-artifacts/artifacts"
    assert code(f"{url}/{EXPERIMENT}/fedquad-exchange/c/ab", "PUT", pair) == 200
    assert code(f"{url}/{EXPERIMENT}/fedquad-exchange/c/ab", "GET", pair) == 200
    assert code(f"{url}/{other}/x", "GET", pair) == 403
    assert code(f"{url}/{other}/x", "PUT", pair) == 403
    assert code(f"{device.mlflow_url}/api/2.0/mlflow/users/create", "POST", pair) == 403
    seen = Running(running.home, running.env, {}, device).mlflow(
        "/api/2.0/mlflow/experiments/search", {"max_results": 10}
    )
    assert [one["experiment_id"] for one in seen["experiments"]] == [EXPERIMENT]


def test_no_password_is_in_a_command_line_file_log_or_record(running: Running, scheduled: dict[str, Any]) -> None:
    secrets = [password.encode() for password in running.passwords]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes()
        except OSError:
            continue  # it has ended
        assert not any(secret in line for secret in secrets), line[:200]
    read = 0
    for path in running.home.rglob("*"):
        if path.is_file() and path.name != "credentials.json":
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path
            read += 1
    assert read > 20  # databases, logs, the campaign's folder and its report among them
    assert (running.home / "campaigns" / "from-the-form" / "report" / "index.html").exists()


def test_down_ends_the_worker_with_the_campaign_it_runs_and_says_so_to_prefect(running: Running) -> None:
    """The last test of the file: a long campaign runs, the worker is killed, and its orphan ends with the rest."""
    run = running.schedule(name="long", rounds=500)
    running.wait(run, "RUNNING", seconds=120)
    rounds = running.home / "campaigns" / "long" / "arms" / "fedlora:exclusive-s0" / "rounds.jsonl"
    end = time.monotonic() + 120
    while not rounds.exists():
        assert time.monotonic() < end
        time.sleep(0.5)
    worker = psutil.Process(next(row["pid"] for row in running.document["servers"] if row["name"] == "worker"))
    worker.kill()
    status = json.loads(running.command("up", "--status", "--json").stdout)
    assert [row["state"] for row in status["servers"]] == ["running", "running", "stopped"]
    assert processes.marked(running.home / "servers")
    ended = running.command("down", "--json")
    assert json.loads(ended.stdout) == {"ended": ["prefect", "mlflow"]}
    assert processes.marked(running.home / "servers") == []
    assert running.command("down").stdout == "nothing of ours was running\n"
