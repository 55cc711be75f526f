"""MLflow is down at first: the campaign says so once, goes on, and sends everything when the server is there."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import handmade
import pytest

from tasks.progress import LISTENER
from tasks.track import Tracker

pytestmark = pytest.mark.server


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[None]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = [
        "--backend-store-uri",
        f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    command = [Path(sys.executable).with_name("mlflow"), "server", *options, *stores]
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server, folder / "server.log")
        yield
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=30)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.25)
    raise AssertionError(log.read_text())


def test_a_server_that_comes_late_gets_every_round_once(tmp_path: Path, monkeypatch: Any) -> None:
    port = free_port()
    handmade.home_is(tmp_path / "home", monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    said: list[str] = []
    token = LISTENER.set(lambda event, facts: said.append(facts["message"]) if event == "notice" else None)
    spec = handmade.spec(rounds=3)
    folder = handmade.make("late", spec, 1)
    tracker = Tracker(folder, spec)
    try:
        for number in (2, 3):
            began = time.monotonic()
            assert tracker.send("fedlora", "fedlora", 0) != ""
            assert time.monotonic() - began < 20  # a campaign is not held up
            handmade.commit(folder, "fedlora", 0, number)
        with mlflow_server(tmp_path, port):
            assert tracker.send("fedlora", "fedlora", 0, finished=True) == ""
            check(f"http://127.0.0.1:{port}")
    finally:
        LISTENER.reset(token)
    assert ["out of reach" in said[0], "answers again" in said[1], len(said)] == [True, True, 2]


def check(uri: str) -> None:
    """Every round once, at the fleet's time, and the adapter through the server."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("fedquad")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    points = client.get_metric_history(run.info.run_id, "quality/accuracy")
    assert [(p.step, p.timestamp - run.info.start_time) for p in points] == [(1, 100_500), (2, 201_000), (3, 301_500)]
    assert {item.path for item in client.list_artifacts(run.info.run_id, "adapter")} == {"adapter/best", "adapter/last"}
    assert run.info.status == "FINISHED"
