"""The pictures of docs/evidence.md: the clicks that give the paper's Figure 7 in MLflow, taken in headless Chromium.

    python -m benchmarks.mlflow_pictures --home runs     # a home in which the preset `quickstart` was run; writes docs/mlflow-*.png
    python -m benchmarks.mlflow_pictures                 # runs it first, in a home of its own

A picture shows what is there after a click; each is an address of MLflow's pages, so that no click has to be acted out.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from benchmarks.campaigns import measure

DOCS = Path(__file__).parents[1] / "docs"
CAMPAIGN = "quickstart"
FILTER = quote(f"tags.campaign = '{CAMPAIGN}' AND tags.label != 'all arms'", safe="")
SIZE, PATIENCE_MS, START_SECONDS = "1720,800", 60_000, 300
METRIC = "accuracy/by_fleet_second"


def pictures(experiment: str, runs: list[str]) -> dict[str, str]:
    """Each picture's address, by its file's name."""
    listed = quote(str(runs).replace("'", '"'), safe="")
    at = f"#/experiments/{experiment}/runs?searchFilter={FILTER}"
    metric = quote(f'"{METRIC}"', safe="")
    alone = quote(f'["{experiment}"]', safe="")
    compared = f"#/metric?runs={listed}&experiments={alone}&metric={metric}&plot_metric_keys=[{metric}]&x_axis=step"
    return {"mlflow-1-runs": at, "mlflow-2-charts": f"{at}&compareRunsMode=CHART", "mlflow-3-figure-7": compared}


def take(home: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("fedquad")
    assert experiment is not None, f"{home} holds no campaign that was sent to MLflow"
    found = client.search_runs([experiment.experiment_id], f"tags.campaign = '{CAMPAIGN}' AND tags.label != 'all arms'")
    with served(home) as address:
        for name, where in pictures(experiment.experiment_id, [run.info.run_id for run in found]).items():
            picture(f"{address}/{where}", DOCS / f"{name}.png")


@contextmanager
def served(home: Path) -> Iterator[str]:
    """MLflow's pages on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}"]
    quiet = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }  # its queues take more of a machine than its pages
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"], cwd=home, env=quiet
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait(f"{address}/health")
        yield address
    finally:
        process.terminate()
        process.wait(30)


def wait(address: str) -> None:
    for _ in range(START_SECONDS):
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(1)
    raise SystemExit(f"nothing answers at {address}")


def picture(address: str, path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("there is no Chromium here: apt-get install chromium")
    more = [f"--window-size={SIZE}", f"--virtual-time-budget={PATIENCE_MS}", "--hide-scrollbars", "--no-sandbox"]
    subprocess.run([browser, "--headless=new", *more, f"--screenshot={path}", address], check=True, capture_output=True)
    shrink(path)


def shrink(path: Path) -> None:
    """As few colours as do: a page of text and lines is then a few tens of kilobytes."""
    from PIL import Image

    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="where the campaign lies; run anew if left out")
    home = parser.parse_args().home
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if home is not None:
        take(home.resolve())
    else:
        measure(CAMPAIGN, look=take)


if __name__ == "__main__":
    main()
