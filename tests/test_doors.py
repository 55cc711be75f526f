"""What is asked for at the server's doors: by a form, through the API, by a name, by a signal."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from handmade import home_is
from real_campaigns import PASSWORDS, api, as_in_a_terminal, as_in_the_background, environment
from tiny import a_spec, write_model

from fedquad.errors import DeviceError, SpecError
from fedquad.learn import tokens
from fedquad.learn.model import load
from fedquad.spec import ArmSpec, CampaignSpec, DataSpec, FleetSpec
from fedquad.store.campaign import campaign
from flows import admission, edge
from flows.server import TemporaryServer
from flows.watch import Watch


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home_is(tmp_path / "home", monkeypatch)
    monkeypatch.delenv("FEDQUAD_FOLDERS", raising=False)
    return tmp_path / "home"


BAD_NAMES = ["", ".", "..", ".hidden", "a/b", "a\nb", "a\x00b", "\x1b[31m", "-rf", "x" * 65, "ä", "a b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_none_is_refused_in_one_line(name: str) -> None:
    for attempt in (lambda: campaign(name), lambda: ArmSpec(label=name or " ")):
        with pytest.raises(SpecError, match="a name is a letter or digit") as refused:
            attempt()
        assert "\n" not in str(refused.value)


def test_names_that_are_fine() -> None:
    for name in ("a", "fedlora:oracle", "mine-2.1_b", "9", "x" * 64):
        assert campaign(name).name == name
        assert ArmSpec(label=name).name == name


@pytest.mark.parametrize(
    "setting",
    ["fleet.boards={jetson-tx2: 10000001}", "data.train=1000000001", "seeds=[9223372036854775808]", "rounds=100000000"],
)
def test_sizes_are_bounded_before_anything_is_made_of_that_size(setting: str) -> None:
    began = time.monotonic()
    with pytest.raises(SpecError):
        edge.campaign_spec("quickstart", settings=[setting])
    assert time.monotonic() - began < 2


def test_a_form_names_methods_and_nothing_else(tmp_path: Path) -> None:
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for method in (str(evil), f"{evil}:variant", "./evil.py"):
        with pytest.raises(SpecError, match="by name only"):
            edge.described("quickstart", methods=[method], check=admission.admit)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(SpecError, match=r"fleet\.trace"):
        admission.admit(CampaignSpec(fleet=FleetSpec(trace="/etc/passwd")))


def test_a_form_names_folders_below_those_set_apart(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asks(**where: str) -> CampaignSpec:
        return CampaignSpec(data=DataSpec(name="sst2", **where))

    (home / "data").mkdir(parents=True)
    (home / "data" / "out").symlink_to("/etc")
    admission.admit(asks(source=str(home / "data" / "mine")))
    for path in ("/etc", str(tmp_path), str(home / "data" / ".." / "campaigns"), str(home / "data" / "out")):
        with pytest.raises(SpecError, match="FEDQUAD_FOLDERS"):
            admission.admit(asks(source=path))
    monkeypatch.setenv("FEDQUAD_FOLDERS", f"{tmp_path / 'other'}{os.pathsep}{tmp_path / 'sets'}")
    admission.admit(asks(source=str(tmp_path / "sets" / "mine")))
    for name in ("/models/x", "../x", str(tmp_path)):
        with pytest.raises(SpecError, match=r"model\.name"):
            admission.admit(edge.typed({"model": {"name": name}}))
    admission.admit(edge.typed({"model": {"name": "FacebookAI/roberta-base"}}))


def test_an_exchange_is_the_servers_own_or_what_the_worker_was_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def asks(exchange: str) -> CampaignSpec:
        return CampaignSpec(fleet=FleetSpec(exchange=exchange))

    admission.admit(asks("mlflow"))
    for url in ("/etc", "s3://elsewhere/x", "sftp://host/x"):
        with pytest.raises(SpecError, match="FEDQUAD_EXCHANGE"):
            admission.admit(asks(url))
    monkeypatch.setenv("FEDQUAD_EXCHANGE", "s3://ours/x")
    admission.admit(asks("s3://ours/x"))


def test_a_cluster_is_the_one_that_the_worker_was_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def asks(address: str) -> CampaignSpec:
        return CampaignSpec(fleet=FleetSpec(engine="dask", engine_address=address))

    admission.admit(asks(""))
    with pytest.raises(SpecError, match="FEDQUAD_ENGINE_ADDRESS"):
        admission.admit(asks("tcp://elsewhere:8786"))
    monkeypatch.setenv("FEDQUAD_ENGINE_ADDRESS", "tcp://ours:8786")
    admission.admit(asks("tcp://ours:8786"))


@pytest.mark.parametrize("is_known", [False, True])
def test_a_model_that_wants_code_of_its_own_gets_none(tmp_path: Path, is_known: bool) -> None:
    write_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"}
    if not is_known:
        config["model_type"] = "of-my-own"
    (tmp_path / "config.json").write_text(json.dumps(config))
    if is_known:
        assert type(load(a_spec(tmp_path), 3, 4).model).__module__.startswith("transformers.")
    else:
        for attempt in (lambda: load(a_spec(tmp_path), 3, 4), lambda: tokens._tokenizer(str(tmp_path))):
            with pytest.raises(DeviceError) as refused:
                attempt()
            assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


class Api(BaseHTTPRequestHandler):
    """Flow runs as Prefect's API shows them."""

    runs: dict[str, str] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        state = self.runs.get(self.path.rpartition("/")[2])
        self.send_response(200 if state else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"state_type": state}).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    monkeypatch.setattr("flows.watch.EVERY_SECONDS", 0.05)
    monkeypatch.setattr("flows.watch.GONE_SECONDS", 5.5)
    Api.runs = {"mine": "RUNNING"}
    server = HTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.server_close()


def watched(prefect: HTTPServer) -> tuple[Watch, list[str]]:
    said: list[str] = []
    return Watch(f"http://127.0.0.1:{prefect.server_port}/api", on_end=said.append), said


def wait_for(said: list[str]) -> str:
    end = time.monotonic() + 5
    while not said and time.monotonic() < end:
        time.sleep(0.02)
    return said[0]


def test_a_cancelled_a_deleted_and_a_dead_servers_run_is_noticed(prefect: HTTPServer) -> None:
    watch, said = watched(prefect)
    with watch.over("mine", "campaign mine"):
        time.sleep(0.3)
        assert said == []
        Api.runs["mine"] = "CANCELLING"
        assert wait_for(said) == "campaign mine was cancelled in Prefect"
    said.clear()
    Api.runs["mine"] = "RUNNING"
    with watch.over("mine", "campaign mine"):
        Api.runs.clear()
        assert wait_for(said) == "campaign mine was deleted in Prefect"
    Api.runs["mine"] = "RUNNING"
    time.sleep(0.2)
    said.clear()
    with watch.over("mine", "campaign mine"):
        prefect.shutdown()
        prefect.server_close()
        assert "is gone" in wait_for(said)


@pytest.mark.server
@pytest.mark.timeout(200)
def test_the_temporary_server_knows_its_password_and_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    server, other = TemporaryServer(), TemporaryServer()
    assert server.password != other.password
    try:
        server.start()
        server.wait()
        assert status(server.url, "/flow_runs/count", {}) == 401
        PASSWORDS[server.url] = server.password
        assert api(server.url, "/flow_runs/count", {}) == 0
        assert status(server.url, "/health", None, Host="evil.example") == 400
        request = urllib.request.Request(f"{server.url}/health", headers={"Origin": "http://evil.example"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.headers.get("access-control-allow-origin") in (None, server.url.removesuffix("/api"))
        command = Path(f"/proc/{server._process.pid}/cmdline").read_bytes()  # type: ignore[union-attr]
        assert server.password.encode() not in command
    finally:
        server.stop()


def status(url: str, path: str, body: Any, **headers: str) -> int:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", data=data, headers={"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


LONG = """
data: {train: 64, validation: 16, test: 16}
fleet: {boards: {jetson-tx2: 2}}
training: {steps: 1}
arms: [{method: "fedlora:oracle"}]
rounds: 500
"""


@pytest.mark.server
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "the server dies"])
def test_a_campaign_ends_in_one_line_and_goes_on_later(how: str, tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text(LONG)
    home = tmp_path / "runs"
    command = [str(Path(sys.executable).with_name("fedquad")), "campaign", "run", "long.yaml"]
    pipe = subprocess.PIPE
    begin = as_in_the_background if how == "SIGTERM" else as_in_a_terminal
    running = subprocess.Popen(
        command, cwd=tmp_path, env=environment(home), stdout=pipe, stderr=pipe, text=True, preexec_fn=begin
    )
    lines = home / "campaigns" / "long" / "arms" / "fedlora:oracle-s0" / "rounds.jsonl"
    while not lines.exists() and running.poll() is None:
        time.sleep(0.1)
    if how == "the server dies":
        found = subprocess.run(["pgrep", "-P", str(running.pid), "-f", "temporary_app"], capture_output=True, text=True)
        os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
    else:
        running.send_signal(getattr(signal, how))
    began = time.monotonic()
    _, err = running.communicate(timeout=60)
    assert time.monotonic() - began < (15 if how == "the server dies" else 40)
    assert running.returncode == (12 if how == "the server dies" else 130), err
    assert "Traceback" not in err
    assert "resume" in err.splitlines()[-1]
    assert len(lines.read_text().splitlines()) >= 1
