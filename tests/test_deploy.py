"""Deployments for real: a Prefect server and workers on loopback, a campaign made through the API, a fleet behind a work pool."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from real_campaigns import PASSWORDS, TINY, api, digests, environment, fedquad, flow_runs, summary

from flows.server import TemporaryServer
from flows.settings import QUIET

pytestmark = [pytest.mark.server, pytest.mark.timeout(420)]
ROOT = Path(__file__).parents[1]
PREFECT = str(Path(sys.executable).with_name("prefect"))


class Office:
    """A server with both deployments of prefect.yaml on it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "runs"
        self.folder = folder
        (self.home / "prefect").mkdir(parents=True)
        self.server = TemporaryServer()
        self.env = environment(
            self.home,
            **QUIET,
            PREFECT_HOME=str(self.home / "prefect"),
            PREFECT_API_URL=self.server.url,
            PREFECT_API_AUTH_STRING=self.server.password,
        )
        PASSWORDS[self.server.url] = self.server.password

    def prefect(self, *arguments: str) -> None:
        answer = subprocess.run(
            [PREFECT, *arguments], env=self.env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr

    @contextmanager
    def worker(self, pool: str, limit: int = 1) -> Iterator[None]:
        """A worker of a pool, ended with everything it started."""
        command = [PREFECT, "worker", "start", "--pool", pool, "--limit", str(limit)]
        env = {**self.env, "PREFECT_WORKER_QUERY_SECONDS": "1"}
        log = open(self.folder / f"worker-{pool}.log", "w")  # noqa: SIM115
        process = subprocess.Popen(command, env=env, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            log.close()

    def create_run(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Create a run as the UI does."""
        found = api(self.server.url, f"/deployments/name/{deployment}")
        return api(self.server.url, f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"]  # type: ignore[no-any-return]

    def wait(self, flow_run_id: str, seconds: float = 240) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            run = api(self.server.url, f"/flow_runs/{flow_run_id}")
            if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                return run  # type: ignore[no-any-return]
            time.sleep(0.5)
        raise AssertionError(
            f"still {run['state_type']} after {seconds} s: {(self.folder / 'worker-campaigns.log').read_text()[-3000:]}"
        )


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("office"))
    before = dict(os.environ)
    os.environ.update(made.env)
    try:
        made.server.start()
        made.server.wait()
    finally:
        os.environ.clear()
        os.environ.update(before)
    for pool in ("campaigns", "jetson-agx"):
        made.prefect(
            "work-pool", "create", pool, "--type", "process", "--base-job-template", "deployments/process-pool.json"
        )
    made.prefect("--no-prompt", "deploy", "--all")
    yield made
    made.server.stop()


def test_the_form_offers_every_setting_with_its_sentence_and_choices(office: Office) -> None:
    schema = api(office.server.url, "/deployments/name/campaign/campaign")["parameter_openapi_schema"]
    properties = schema["properties"]
    assert set(properties) >= {"preset", "name", "methods", "rounds", "seeds", "spec"}
    assert all(properties[key].get("description") for key in properties)
    definitions = schema["definitions"]
    assert "quickstart" in json.dumps(definitions)
    assert definitions["ModelSpec"]["properties"]["attention"]["enum"] == ["eager", "sdpa"]
    assert all(p["description"] for p in definitions["CampaignSpec"]["properties"].values())


def test_a_campaign_made_through_the_api_runs_on_the_worker(office: Office) -> None:
    settings = {"data.train": 240, "data.validation": 64, "data.test": 64, "training.steps": 1, "training.batch": 4}
    with office.worker("campaigns"):
        chosen = {
            "preset": "quickstart",
            "name": "from-the-form",
            "methods": ["fedlora:exclusive"],
            "rounds": 2,
            "settings": settings,
        }
        run = office.wait(office.create_run("campaign/campaign", chosen))
    assert run["state_type"] == "COMPLETED", run["state"]
    assert run["name"] == "from-the-form"
    document = json.loads((office.home / "campaigns" / "from-the-form" / "summary.json").read_text())
    assert [(arm["label"], len(arm["rounds"])) for arm in document["arms"]] == [("fedlora:exclusive", 2)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"spec": {"colour": 1}},
        {"spec": {"training": {"stepz": 1}}},
        {"spec": {"arms": [{"methood": "fedlora"}]}},
        {"rounds": "many"},
    ],
)
def test_the_form_refuses_what_it_does_not_know_at_every_level(office: Office, wrong: dict[str, Any]) -> None:
    import urllib.error

    with pytest.raises(urllib.error.HTTPError) as refused:
        office.create_run("campaign/campaign", wrong)
    assert refused.value.code == 409 or refused.value.code == 422


def test_a_fleet_behind_a_work_pool_computes_the_bits_of_the_simulated_one(office: Office) -> None:
    spec = TINY.replace(
        "{jetson-agx-xavier: 1, jetson-xavier-nx: 1, jetson-tx2: 1}, jitter: 0.1", "{jetson-agx-xavier: 2}{POOLS}"
    )
    spec = spec.replace("rounds: 3", "rounds: 2").replace(', {method: "fedlora:oracle"}', "")
    (office.folder / "pooled.yaml").write_text(
        spec.replace("{POOLS}", ", pools: {jetson-agx-xavier: jetson-agx}, deadline_seconds: 200")
    )
    (office.folder / "simulated.yaml").write_text(spec.replace("{POOLS}", ""))
    simulated = summary(fedquad("campaign", "run", "simulated.yaml", "--json", env=office.env, cwd=office.folder))
    with office.worker("jetson-agx", limit=2):
        pooled = summary(fedquad("campaign", "run", "pooled.yaml", "--json", env=office.env, cwd=office.folder))
    assert digests(pooled) == digests(simulated)
    devices = [run["name"] for run in flow_runs(office.server.url) if " - device " in run["name"]]
    assert sorted(devices) == [f"round {number} - device {device}" for number in (1, 2) for device in (0, 1)]
    seconds = [r["round_seconds"] for r in pooled["arms"][0]["rounds"]]
    assert all(0 < s < 60 for s in seconds)  # measured on this machine, not what a Jetson would take
    assert [r["round_seconds"] for r in simulated["arms"][0]["rounds"]] != seconds


def test_a_process_worker_runs_whatever_a_deployment_tells_it(office: Office) -> None:
    """Why the API must not be open: a deployment's pull steps are code, whatever the pool's template leaves out."""
    mark = office.folder / "was-here"
    flow = api(office.server.url, "/flows/", {"name": "device"})
    pool_step = {"prefect.deployments.steps.run_shell_script": {"script": f"touch {mark}"}}
    body = {
        "name": "hostile",
        "flow_id": flow["id"],
        "entrypoint": "flows.device.device",
        "work_pool_name": "campaigns",
        "pull_steps": [pool_step],
    }
    made = api(office.server.url, "/deployments/", body)
    with office.worker("campaigns"):
        office.wait(
            api(
                office.server.url,
                f"/deployments/{made['id']}/create_flow_run",
                {"parameters": {"opening": {}, "job": {}}},
            )["id"]
        )
    assert mark.exists()
