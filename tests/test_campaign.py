"""A campaign end to end, as a user runs it: the command line, Prefect and MLflow for real, processes killed for real."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from real_campaigns import PASSWORDS, PROGRAM, TINY, api, digests, environment, fedquad, flow_runs, summary, task_runs

from flows.server import TemporaryServer
from flows.settings import QUIET

pytestmark = [pytest.mark.server, pytest.mark.timeout(420)]


@dataclass
class Place:
    """A home, a Prefect server, and the campaign every test compares with."""

    home: Path
    folder: Path
    url: str
    env: dict[str, str]
    reference: dict[str, Any]

    def run(self, name: str, *more: str, **options: Any) -> dict[str, Any]:
        return summary(
            fedquad(
                "campaign",
                "run",
                "tiny.yaml",
                "--name",
                name,
                "--json",
                *more,
                env=self.env,
                cwd=self.folder,
                **options,
            )
        )

    def arm(self, name: str, label: str = "fedlora") -> Path:
        return self.home / "campaigns" / name / "arms" / f"{label}-s0"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("campaign")
    (folder / "tiny.yaml").write_text(TINY)
    home = folder / "runs"
    (home / "prefect").mkdir(parents=True)
    server = TemporaryServer()
    before = dict(os.environ)
    os.environ.update({**QUIET, "PREFECT_HOME": str(home / "prefect")})
    try:
        server.start()
        server.wait()
    finally:
        os.environ.clear()
        os.environ.update(before)
    PASSWORDS[server.url] = server.password
    env = environment(
        home,
        PREFECT_API_URL=server.url,
        PREFECT_API_AUTH_STRING=server.password,
        PREFECT_HOME=str(home / "prefect"),
    )
    made = Place(home, folder, server.url, env, {})
    made.reference = made.run("reference")
    yield made
    server.stop()


def test_the_summary_holds_every_arm_and_round(place: Place) -> None:
    assert [arm["label"] for arm in place.reference["arms"]] == ["fedlora", "fedlora:oracle"]
    for arm in place.reference["arms"]:
        assert [r["round"] for r in arm["rounds"]] == [1, 2, 3]
        assert 0.1 < arm["best_accuracy"] <= 1
        assert arm["rounds"][-1]["elapsed_seconds"] == pytest.approx(sum(r["round_seconds"] for r in arm["rounds"]))
    assert all(len(digest) == 64 for digest in place.reference["digests"].values())
    oracle = place.reference["arms"][1]
    assert all(r["mean_depth"] == 12 and r["memory_violations"] > 0 for r in oracle["rounds"])


def test_a_finished_campaign_prints_its_table_again_and_trains_nothing(place: Place) -> None:
    began = time.monotonic()
    assert place.run("reference") == place.reference
    assert time.monotonic() - began < 8


def test_one_training_process_gives_the_bits_of_two(place: Place) -> None:
    assert len(os.sched_getaffinity(0)) >= 2
    alone = place.run("one-process", prefix=("taskset", "-c", "0"))
    assert digests(alone) == digests(place.reference)


@pytest.mark.parametrize("rounds_before", [0, 2])
def test_a_killed_campaign_resumes_to_the_same_bits_and_its_runs_are_crashed(rounds_before: int, place: Place) -> None:
    name = f"killed-{rounds_before}"
    command = [PROGRAM, "campaign", "run", "tiny.yaml", "--name", name]
    process = subprocess.Popen(
        command, env=place.env, cwd=place.folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    lines = place.arm(name) / ("rounds.jsonl" if rounds_before else "spool")
    end = time.monotonic() + 120
    while time.monotonic() < end and not (
        lines.exists() and (not rounds_before or len(lines.read_text().splitlines()) >= rounds_before)
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    resumed = summary(fedquad("campaign", "resume", name, "--json", env=place.env, cwd=place.folder))
    assert digests(resumed) == digests(place.reference)
    states = [run["state_type"] for run in flow_runs(place.url) if run["name"] == name]
    assert sorted(states) == ["COMPLETED", "CRASHED"]
    unfinished = flow_runs(place.url, flow_runs={"state": {"type": {"any_": ["RUNNING", "PENDING"]}}})
    assert not unfinished


def children(pid: int, name: str) -> list[int]:
    """Processes of that name that a process started."""
    found = subprocess.run(["pgrep", "-P", str(pid), "-f", name], capture_output=True, text=True, check=True)
    return [int(line) for line in found.stdout.split()]


def test_a_training_process_that_dies_is_replaced(place: Place) -> None:
    name = "worker-killed"
    command = [PROGRAM, "campaign", "run", "tiny.yaml", "--name", name, "--json"]
    process = subprocess.Popen(
        command, env=place.env, cwd=place.folder, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    spool = place.arm(name) / "spool"
    end = time.monotonic() + 120
    while time.monotonic() < end and not spool.exists():
        time.sleep(0.02)
    (parent,) = children(process.pid, "fedquad.learn.worker")
    os.kill(children(parent, "fedquad.learn.worker")[0], signal.SIGKILL)
    answer, _ = process.communicate(timeout=200)
    assert digests(summary(subprocess.CompletedProcess(command, process.returncode, answer, ""))) == digests(
        place.reference
    )


def test_prefect_shows_flows_tasks_and_artifacts_by_readable_names(place: Place) -> None:
    runs = {run["name"]: run for run in flow_runs(place.url)}
    assert {"reference", "fedlora-s0", "fedlora:oracle-s0"} <= set(runs)
    campaign = next(run for run in flow_runs(place.url) if run["name"] == "reference")
    children = flow_runs(place.url, flow_runs={"parent_flow_run_id": {"any_": [campaign["id"]]}})
    arms = [run for run in children if run["name"] == "fedlora-s0"]
    steps = ["collect status", "configure", "train 3 devices", "aggregate", "evaluate", "record", "track"]
    wanted = {f"round {number} - {step}" for number in (1, 2, 3) for step in steps}
    end = time.monotonic() + 20
    while not wanted <= (names := set(task_runs(place.url, arms[0]["id"]))):
        assert time.monotonic() < end, wanted - names
        time.sleep(0.5)
    keys = [a["key"] for a in api(place.url, "/artifacts/filter", {"limit": 200})]
    assert keys.count("reference-fedlora-s0-devices") == 3
    assert keys.count("reference-fedlora-s0-progress") == 1
    (link,) = [
        a for a in api(place.url, "/artifacts/filter", {"limit": 200}) if a["key"] == "reference-fedlora-s0-mlflow"
    ]
    assert link["flow_run_id"] == arms[0]["id"]
    assert "#/experiments/" in link["data"]


def test_prefect_forgets_rounds_whose_tensors_are_gone(place: Place) -> None:
    short = ("--name", "long", "--methods", "fedlora", "--rounds", "6", "--set", "keep_every=0")
    answer = summary(fedquad("campaign", "run", "tiny.yaml", *short, "--json", env=place.env, cwd=place.folder))
    arm = place.home / "campaigns" / "long" / "arms" / "fedlora-s0"
    kept = {int(path.stem.split("-")[1]) for path in (arm / "state").glob("*.safetensors")}
    assert {5, 6} <= kept < {1, 2, 3, 4, 5, 6}
    campaign = next(run for run in flow_runs(place.url) if run["name"] == "long")
    (run,) = flow_runs(place.url, flow_runs={"parent_flow_run_id": {"any_": [campaign["id"]]}})
    end = time.monotonic() + 20  # Prefect writes task runs a second later, and forgets those then
    while (shown := {int(name.split()[1]) for name in task_runs(place.url, run["id"])}) != kept:
        assert time.monotonic() < end, (shown, kept)
        time.sleep(0.5)
    keys = [a["key"] for a in api(place.url, "/artifacts/filter", {"limit": 200})]
    assert keys.count("long-fedlora-s0-devices") == len(kept)
    assert [r["round"] for r in answer["arms"][0]["rounds"]] == [1, 2, 3, 4, 5, 6]


def test_mlflow_holds_a_run_per_arm_with_every_round_and_the_adapter(place: Place) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place.home}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'fedquad'")
    runs = client.search_runs([experiment.experiment_id], "tags.campaign = 'reference'")
    assert sorted(run.data.tags["label"] for run in runs) == ["all arms", "fedlora", "fedlora:oracle"]
    for run, arm in ((r, a) for r in runs for a in place.reference["arms"] if a["label"] == r.data.tags["label"]):
        history = client.get_metric_history(run.info.run_id, "quality/accuracy")
        assert [(m.step, m.value) for m in history] == [(r["round"], r["accuracy"]) for r in arm["rounds"]]
        gaps = [m.timestamp - run.info.start_time for m in history]
        assert gaps == [int(r["elapsed_seconds"] * 1000) for r in arm["rounds"]]
        assert run.data.params["training.steps"] == "2"
        assert "[Its run in Prefect](" in run.data.tags["mlflow.note.content"]
        adapter = {file.path for file in client.list_artifacts(run.info.run_id, "adapter/best")}
        assert "adapter/best/adapter_model.safetensors" in adapter


def test_peft_loads_the_adapter_and_scores_the_reported_accuracy(place: Place) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    from fedquad.learn.source import locate
    from fedquad.learn.tokens import read
    from fedquad.store import files

    base = AutoModelForSequenceClassification.from_pretrained(locate("mini"), num_labels=3, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(place.arm("reference") / "adapter")).eval()
    test = next(
        data
        for path in (place.home / "cache" / "tokens").glob("*.safetensors")
        if len((data := read(path)).labels) == 96
    )
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor(test.input_ids).long(), attention_mask=torch.tensor(test.attention_mask).long()
        ).logits
    accuracy = float((logits.argmax(-1).numpy() == test.labels).mean())
    rounds = next(r for r in place.reference["arms"] if r["label"] == "fedlora")["rounds"]
    assert accuracy == pytest.approx(rounds[-1]["accuracy"], abs=1e-3)
    assert files.read_json(place.arm("reference") / "adapter" / "adapter_config.json")["peft_type"] == "LORA"


def test_nothing_on_disk_is_a_pickle(place: Place) -> None:
    checked = 0
    for path in place.home.rglob("*"):
        if path.is_file() and path.suffix not in (".db", ".db-wal", ".db-shm"):
            checked += 1
            start = path.read_bytes()[:4]
            assert not (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05"), f"{path} is a pickle"
            assert start != b"PK\x03\x04", f"{path} is a zip, as torch.save writes"
            assert path.suffix not in (".pkl", ".pickle", ".pt", ".pth", ".bin"), path
    assert checked > 20


BREAKS = """
from dataclasses import replace
from fedquad.strategies import fedlora

def strategy():
    base = fedlora.strategy()
    def plan(state, statuses, world, rng):
        assignments = base.plan(state, statuses, world, rng)
        return assignments if state.round < 1 else assignments + assignments
    return replace(base, plan=plan)
"""


def test_one_arms_failure_leaves_the_others_running_and_shows_in_the_exit_code(place: Place) -> None:
    (place.folder / "breaks.py").write_text(BREAKS)
    arguments = ("campaign", "run", "tiny.yaml", "--name", "breaks", "--methods", "./breaks.py,fedlora", "--json")
    answer = fedquad(*arguments, env=place.env, cwd=place.folder)
    assert answer.returncode == 8, answer.stderr
    assert "planned twice" in answer.stderr
    assert "Traceback" not in answer.stderr
    states = {run["name"]: run["state_type"] for run in flow_runs(place.url, sort="END_TIME_DESC")}
    assert states["breaks-s0"] == "FAILED"
    again = fedquad("campaign", "show", "breaks", "--json", env=place.env, cwd=place.folder)
    import json

    arms = {arm["label"]: arm for arm in json.loads(again.stdout)["arms"]}
    assert digests({"arms": [arms["fedlora"]]}) == {"fedlora": digests(place.reference)["fedlora"]}
    assert len(arms["breaks"]["rounds"]) == 1


def test_verify_computes_the_same_bits_again(place: Place) -> None:
    answer = fedquad("campaign", "verify", "reference", "--rounds", "1", "--json", env=place.env, cwd=place.folder)
    assert answer.returncode == 0, answer.stderr


def test_it_starts_without_a_server_too(place: Place) -> None:
    env = {key: value for key, value in place.env.items() if key not in ("PREFECT_API_URL", "PREFECT_HOME")}
    env["FEDQUAD_HOME"] = str(place.folder / "alone")
    alone = summary(
        fedquad("campaign", "run", "tiny.yaml", "--methods", "fedlora", "--json", env=env, cwd=place.folder)
    )
    assert digests(alone) == {"fedlora": digests(place.reference)["fedlora"]}
    assert (place.folder / "alone" / "prefect" / "prefect.db").exists()
