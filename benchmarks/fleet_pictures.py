"""The pictures of docs/real-fleet.md: a campaign on two devices, scheduled and watched in Prefect's pages, and its curves in MLflow's.

    pip install playwright                      # drives the Chromium of apt-get install chromium
    python -m benchmarks.fleet_pictures         # starts servers and two devices in a home of their own; writes docs/fleet-*.png

The run is made by the request that the form's button sends.
"""

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.mlflow_pictures import DOCS, shrink
from fedquad.store.servers import Servers, read_servers

PROGRAM = str(Path(sys.executable).with_name("fedquad"))
PORTS = ("--port", "4217", "--mlflow-port", "5017")
DEVICES = ("agx-07", "agx-08")
CHOSEN = {"preset": "own-devices", "name": "monday", "methods": ["fedlora", "fedquad"], "rounds": 5}
WIDTH, HEIGHT, SETTLE_MS = 1500, 860, 6000
TALL = {"fleet-2-campaign": 1700}  # so that the log's rounds are on it


def ask(servers: Servers, path: str, body: Any = None) -> Any:
    """One request to Prefect's API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{servers.prefect_url}{path}", data=data)
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Basic {base64.b64encode(servers.prefect_auth.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@contextmanager
def fleet(home: Path) -> Iterator[Servers]:
    """Both servers and two devices, until the block ends."""
    environment = {**os.environ, "FEDQUAD_HOME": str(home)}
    with ExitStack() as stack:
        stack.callback(subprocess.run, [PROGRAM, "down"], env=environment)
        subprocess.run([PROGRAM, "up", *PORTS], env=environment, check=True)
        for name in DEVICES:
            command = [PROGRAM, "device", "serve", "--pool", "jetson-agx", "--name", name, "--data", "mini-nli"]
            process = subprocess.Popen(command, env=environment)
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)
        servers = read_servers(home / "credentials.json")
        assert servers is not None
        yield servers


def campaign(servers: Servers) -> str:
    """Schedule one, wait for its end; returns its run."""
    deployment = ask(servers, "/deployments/name/campaign/campaign")["id"]
    run: str = ask(servers, f"/deployments/{deployment}/create_flow_run", {"parameters": CHOSEN})["id"]
    while (state := ask(servers, f"/flow_runs/{run}")["state_type"]) not in ("COMPLETED", "FAILED", "CRASHED"):
        time.sleep(2)
    assert state == "COMPLETED", state
    return run


def pages(servers: Servers, run: str) -> dict[str, tuple[str, str]]:
    """Each picture's address and what is clicked there, by the picture's name."""
    deployment = ask(servers, "/deployments/name/campaign/campaign")["id"]
    arms = ask(servers, "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}, "sort": "START_TIME_ASC"})  # fmt: skip
    (result,) = [one for one in ask(servers, "/artifacts/filter", {"limit": 100}) if one["key"] == "campaign-result"]
    prefect, mlflow = servers.prefect_url.removesuffix("/api"), servers.mlflow_url
    return {
        "fleet-1-form": (f"{prefect}/deployments/deployment/{deployment}/run", ""),
        "fleet-2-campaign": (f"{prefect}/runs/flow-run/{run}", ""),
        "fleet-3-arm": (f"{prefect}/runs/flow-run/{arms[-1]['id']}", "text=Artifacts >> nth=-1"),
        "fleet-4-devices": (f"{prefect}/work-pools/work-pool/jetson-agx", "text=Work Queues"),
        "fleet-5-result": (f"{prefect}/artifacts/artifact/{result['id']}", ""),
        "fleet-6-mlflow": (f"{mlflow}/#/experiments/1/runs", ""),
    }


def take(servers: Servers, run: str) -> None:
    from playwright.sync_api import sync_playwright

    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("there is no Chromium here: apt-get install chromium")
    login = {"username": servers.mlflow_user, "password": servers.mlflow_password}
    known = base64.b64encode(servers.prefect_auth.encode()).decode()
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        window = chromium.new_context(viewport={"width": WIDTH, "height": HEIGHT}, http_credentials=login)
        window.add_init_script(f"localStorage.setItem('prefect-password', '{known}')")  # as its page does after a login
        page = window.new_page()
        for name, (address, clicked) in pages(servers, run).items():
            page.set_viewport_size({"width": WIDTH, "height": TALL.get(name, HEIGHT)})
            page.goto(address)
            page.wait_for_timeout(SETTLE_MS)
            if clicked:
                page.locator(clicked).first.click()
                page.wait_for_timeout(SETTLE_MS)
            page.screenshot(path=DOCS / f"{name}.png")
            shrink(DOCS / f"{name}.png")
        chromium.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="where all of it lies, for a second go; a temporary one if left out")
    with ExitStack() as stack:
        home = parser.parse_args().home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fedquad-")))
        servers = stack.enter_context(fleet(home.resolve()))
        take(servers, campaign(servers))


if __name__ == "__main__":
    main()
