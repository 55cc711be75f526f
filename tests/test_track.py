"""MLflow gets every round once: on SQLite, whoever is killed in between."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import handmade
import pytest

from fedquad.errors import StoreError
from fedquad.spec import CampaignSpec
from fedquad.store import campaign as store
from fedquad.store.arm import ArmFolder
from fedquad.store.campaign import CampaignFolder
from tasks import promote, track_arm
from tasks.progress import LISTENER
from tasks.track import Tracker

NOTHING_LISTENS = "http://127.0.0.1:9"  # the discard port, which no machine of today serves


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: Any) -> Iterator[Path]:
    """One home for all tests of this file: creating MLflow's tables takes 6 s."""
    with pytest.MonkeyPatch.context() as patch:
        yield handmade.home_is(tmp_path_factory.mktemp("home"), patch)


@pytest.fixture
def home(shared_home: Path, monkeypatch: Any) -> Path:
    return handmade.home_is(shared_home, monkeypatch)


@pytest.fixture
def notices() -> Iterator[list[str]]:
    said: list[str] = []
    token = LISTENER.set(lambda event, facts: said.append(facts["message"]) if event == "notice" else None)
    yield said
    LISTENER.reset(token)


def send(folder: CampaignFolder, spec: CampaignSpec, finished: bool = False, label: str = "fedlora") -> str:
    return Tracker(folder, spec).send(label, label, 0, finished)


def runs(campaign: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(store.tracking_uri())
    experiment = client.get_experiment_by_name("fedquad")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], f"tags.campaign = '{campaign}'"))


def history(run: Any, metric: str) -> list[tuple[int, int, float]]:
    """(step, milliseconds since the run's start, value) of every point."""
    from mlflow import MlflowClient

    found = MlflowClient(store.tracking_uri()).get_metric_history(run.info.run_id, metric)
    return [(point.step, point.timestamp - run.info.start_time, point.value) for point in found]


def artifacts(run: Any, folder: str = "") -> set[str]:
    from mlflow import MlflowClient

    return {item.path for item in MlflowClient(store.tracking_uri()).list_artifacts(run.info.run_id, folder or None)}


def test_a_run_says_what_it_is_and_holds_every_round_at_the_fleets_time(home: Path) -> None:
    spec = handmade.spec("fedlora", "fedlora:oracle")
    folder = handmade.make("whole", spec)
    assert all(send(folder, spec, finished=True, label=label) == "" for label in ("fedlora", "fedlora:oracle"))
    run = next(run for run in runs("whole") if run.data.tags["label"] == "fedlora:oracle")
    tags = {"method": "fedlora:oracle", "seed": "0", "model": "mini", "dataset": "mini-nli", "fleet": "2 jetson-tx2"}
    assert tags.items() <= run.data.tags.items()
    assert {
        "training.batch": "8",
        "arm.method": "fedlora:oracle",
        "seed": "0",
        "rounds": "3",
    }.items() <= run.data.params.items()
    assert history(run, "quality/accuracy") == [(1, 100_500, 0.4), (2, 201_000, 0.5), (3, 301_500, pytest.approx(0.6))]
    assert [step for step, _, _ in history(run, "accuracy/by_fleet_second")] == [100, 201, 301]
    assert "quality/validation_loss" not in run.data.metrics  # None has no place in a curve
    assert run.info.status == "FINISHED"
    assert {i.dataset.digest for i in run.inputs.dataset_inputs} == {
        digest[:36] for digest in handmade.DIGESTS.values()
    }
    assert artifacts(run, "adapter") == {"adapter/best", "adapter/last"}
    assert artifacts(run, "assignments") == {f"assignments/round-000{n}.json" for n in (1, 2, 3)}
    assert len(runs("whole")) == 2


def test_curves_come_in_groups_and_say_nothing_twice(home: Path) -> None:
    spec = handmade.spec()
    send(handmade.make("grouped", spec), spec, finished=True)
    (run,) = runs("grouped")
    groups = [name.partition("/")[0] for name in sorted(run.data.metrics)]
    assert groups[0] == "accuracy"
    assert set(groups) == {"accuracy", "quality", "time", "depth", "memory", "fleet", "traffic", "energy", "wall"}
    assert run.data.metrics["memory/greatest_share"] == pytest.approx(7 / 8)
    assert run.data.metrics["time/waiting_seconds"] == 10


def test_a_run_says_how_to_repeat_it_and_where_it_comes_from(home: Path) -> None:
    spec = handmade.spec("fedlora:oracle")
    send(handmade.make("told", spec, 1), spec, label="fedlora:oracle")
    (run,) = runs("told")
    note = run.data.tags["mlflow.note.content"]
    assert "fedlora:oracle" in note
    assert "fedquad campaign run campaigns/told/spec.yaml --methods fedlora:oracle --seeds 0" in note
    assert run.data.tags["mlflow.source.name"] == "fedquad campaign run"
    assert run.data.tags["mlflow.user"]


def test_the_best_adapter_is_a_model_that_can_be_ranked(home: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    spec = handmade.spec("fedlora:oracle")
    folder = handmade.make("ranked", spec)
    for _ in range(2):  # a finished arm that is sent again has one model
        assert send(folder, spec, finished=True, label="fedlora:oracle") == ""
    (run,) = runs("ranked")
    client = MlflowClient(store.tracking_uri())
    (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert model.name == "ranked-fedlora-oracle-s0"
    best = max(folder.arm("fedlora:oracle", 0).rounds(), key=lambda one: one["validation_accuracy"])
    scores = {metric.key: metric for metric in model.metrics}
    assert scores["quality/accuracy"].value == pytest.approx(best["accuracy"])
    assert scores["quality/accuracy"].dataset_digest == handmade.DIGESTS["split"][:36]
    assert model.tags["round"] == str(best["round"])
    assert {output.model_id for output in client.get_run(run.info.run_id).outputs.model_outputs} == {model.model_id}
    files = {path.name for path in Path(str(model.artifact_location).removeprefix("file://")).rglob("*")}
    assert "adapter_model.safetensors" in files or files >= {"adapter_config.json"}
    assert not any(name.endswith((".pkl", ".pickle", ".pt")) for name in files)


def test_an_adapter_is_promoted_to_an_alias_that_moves_to_the_next(home: Path) -> None:
    from mlflow import MlflowClient

    spec = handmade.spec("fedlora", "fedlora:oracle")
    folder = handmade.make("promoted", spec)
    with pytest.raises(StoreError, match=r"no model of arm fedlora-s0; `fedquad campaign resume promoted`"):
        promote.promote(folder, folder.arm("fedlora", 0), "ours", "champion")
    for label in ("fedlora", "fedlora:oracle"):
        assert send(folder, spec, finished=True, label=label) == ""
    name = promote.default_name(folder)
    first, again = (promote.promote(folder, folder.arm("fedlora", 0), name, "champion") for _ in range(2))
    other = promote.promote(folder, folder.arm("fedlora:oracle", 0), name, "champion")
    assert (first, first.uri) == (again, "models:/mini-mini-nli@champion")
    assert [first.version, other.version] == ["1", "2"]
    client = MlflowClient(store.tracking_uri(), store.tracking_uri())
    held = client.get_model_version_by_alias(name, "champion")
    assert (str(held.version), held.tags["label"], held.status) == ("2", "fedlora:oracle", "READY")
    assert (Path(other.artifacts.removeprefix("file://")) / "adapter_config.json").exists()
    with pytest.raises(StoreError, match="did not take"):
        promote.promote(folder, folder.arm("fedlora", 0), name, "not an alias/")


def test_a_campaign_has_a_run_of_its_own_with_its_report(home: Path) -> None:
    from tasks import report

    spec = handmade.spec("fedlora", "fedlora:oracle")
    folder = handmade.make("reported", spec)
    tracker = Tracker(folder, spec)
    for label in ("fedlora", "fedlora:oracle"):
        tracker.send(label, label, 0, finished=True)
    assert tracker.send_campaign() == ""
    assert len(runs("reported")) == 2, "without a report there is none"
    report.write(folder)
    assert [tracker.send_campaign(), Tracker(folder, spec).send_campaign()] == ["", ""]
    (whole,) = [run for run in runs("reported") if run.data.tags["label"] == "all arms"]
    assert whole.info.run_name == "reported"
    assert "fedquad campaign report reported" in whole.data.tags["mlflow.note.content"]
    assert "report/index.html" in artifacts(whole, "report")
    assert len(runs("reported")) == 3


def test_the_assignments_of_a_round_are_one_readable_document(home: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    spec = handmade.spec()
    folder = handmade.make("assigned", spec, 1)
    send(folder, spec)
    path = MlflowClient(store.tracking_uri()).download_artifacts(
        runs("assigned")[0].info.run_id, "assignments/round-0001.json", str(tmp_path)
    )
    document = json.loads(Path(path).read_text())
    assert document["assignments"] == handmade.facts(1)["assignments"]


def test_rounds_are_sent_as_they_come_and_never_again(home: Path) -> None:
    spec = handmade.spec(rounds=4)
    folder = handmade.make("growing", spec, 1)
    tracker = Tracker(folder, spec)
    for number in (2, 3, 4):
        assert tracker.send("fedlora", "fedlora", 0) == ""
        assert tracker.send("fedlora", "fedlora", 0) == ""
        handmade.commit(folder, "fedlora", 0, number)
    assert not folder.arm("fedlora", 0).is_tracked()
    tracker.send("fedlora", "fedlora", 0, finished=True)
    assert folder.arm("fedlora", 0).is_tracked()
    (run,) = runs("growing")
    assert [step for step, _, _ in history(run, "quality/loss")] == [1, 2, 3, 4]
    assert [step for step, _, _ in history(run, "system/load")] == [1]  # as rounds came, once in ten seconds
    assert run.data.metrics["system/coordinator_memory_bytes"] > 1e7


def test_the_link_to_an_arms_run_is_said_once(home: Path) -> None:
    spec = handmade.spec()
    tracker = Tracker(handmade.make("linked", spec, 1), spec)
    assert tracker.link("fedlora", 0) == ""
    tracker.send("fedlora", "fedlora", 0)
    (run,) = runs("linked")
    where = f"http://127.0.0.1:5000/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert [tracker.link("fedlora", 0), tracker.link("fedlora", 0)] == [where, ""]


class Killed(BaseException):
    """What a kill looks like from inside: nothing catches it."""


def kill_before_noting(monkeypatch: Any, change: str) -> None:
    """Die once, after MLflow has answered and before the cursor says so."""
    whole = track_arm.Sending._save

    def save(self: track_arm.Sending, **changes: Any) -> None:
        if change in changes:
            monkeypatch.setattr(track_arm.Sending, "_save", whole)
            raise Killed
        whole(self, **changes)

    monkeypatch.setattr(track_arm.Sending, "_save", save)


@pytest.mark.parametrize("change", ["run_id", "sent_rounds", "status"])
def test_a_kill_between_sending_and_noting_it_doubles_nothing(home: Path, monkeypatch: Any, change: str) -> None:
    spec = handmade.spec()
    folder = handmade.make(f"killed-{change}", spec)
    kill_before_noting(monkeypatch, change)
    with pytest.raises(Killed):
        send(folder, spec, finished=True)
    assert send(folder, spec, finished=True) == ""
    (run,) = runs(folder.name)
    for metric in ("quality/accuracy", "quality/loss", "traffic/upload_bytes"):
        assert [step for step, _, _ in history(run, metric)] == [1, 2, 3]
    assert run.info.status == "FINISHED"


def test_a_failed_arm_is_failed_and_runs_again_when_resumed(home: Path) -> None:
    spec = handmade.spec(rounds=3)
    folder = handmade.make("failing", spec, 2)
    arm = folder.arm("fedlora", 0)
    arm.note_failure("no device answered")
    send(folder, spec, finished=True)
    assert runs("failing")[0].info.status == "FAILED"
    arm.note_failure("")
    handmade.commit(folder, "fedlora", 0, 3)
    send(folder, spec)
    assert runs("failing")[0].info.status == "RUNNING"
    send(folder, spec, finished=True)
    (run,) = runs("failing")
    assert (run.info.status, len(history(run, "quality/accuracy"))) == ("FINISHED", 3)


def test_a_run_that_somebody_deleted_is_made_again(home: Path) -> None:
    from mlflow import MlflowClient

    spec = handmade.spec()
    folder = handmade.make("deleted", spec, 1)
    send(folder, spec)
    MlflowClient(store.tracking_uri()).delete_run(runs("deleted")[0].info.run_id)
    handmade.commit(folder, "fedlora", 0, 2)
    assert send(folder, spec) == ""
    (run,) = runs("deleted")
    assert [step for step, _, _ in history(run, "quality/accuracy")] == [1, 2]


def test_going_back_to_a_round_makes_a_new_run_and_the_old_one_is_superseded(home: Path) -> None:
    spec = handmade.spec(keep_every=1)
    folder = handmade.make("back", spec)
    send(folder, spec, finished=True)
    (old,) = runs("back")
    folder.rewind(2)
    assert not folder.arm("fedlora", 0).is_tracked()
    handmade.commit(folder, "fedlora", 0, 3)
    for _ in range(2):
        send(folder, spec, finished=True)
    superseded, new = sorted(runs("back"), key=lambda run: run.info.run_id != old.info.run_id)
    assert superseded.data.tags["superseded_by"] == new.info.run_id
    assert "superseded_by" not in new.data.tags
    assert [step for step, _, _ in history(new, "quality/loss")] == [1, 2, 3]


def test_the_adapter_is_kept_every_so_many_rounds(home: Path) -> None:
    spec = handmade.spec(rounds=3, keep_every=2)
    folder = handmade.make("kept", spec, 0)
    tracker = Tracker(folder, spec)
    for number in (1, 2, 3):
        handmade.commit(folder, "fedlora", 0, number)
        tracker.send("fedlora", "fedlora", 0)
    assert artifacts(runs("kept")[0], "adapter") == {"adapter/round-0002"}


def test_arms_are_sent_from_several_threads(home: Path) -> None:
    methods = ("fedlora", "fedlora:exclusive", "fedlora:oracle")
    spec = handmade.spec(*methods)
    folder = handmade.make("threads", spec)
    tracker = Tracker(folder, spec)
    answers: list[str] = []
    threads = [threading.Thread(target=lambda m=m: answers.append(tracker.send(m, m, 0, True))) for m in methods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [""] * 3
    assert {run.data.tags["label"] for run in runs("threads")} == set(methods)


def test_out_of_reach_is_an_answer_said_once_and_another_store_gets_everything(
    home: Path, monkeypatch: Any, notices: list[str]
) -> None:
    spec = handmade.spec()
    folder = handmade.make("unheard", spec)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOTHING_LISTENS)
    tracker = Tracker(folder, spec)
    assert tracker.send("fedlora", "fedlora", 0) != ""
    assert tracker.send("fedlora", "fedlora", 0, finished=True) != ""
    assert len(notices) == 1
    assert f"out of reach at {NOTHING_LISTENS}" in notices[0]
    assert "\n" not in notices[0]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert send(folder, spec, finished=True) == ""
    assert len(history(runs("unheard")[0], "quality/accuracy")) == 3


def test_nothing_is_pickled(home: Path) -> None:
    spec = handmade.spec()
    send(handmade.make("plain", spec), spec, finished=True)
    files = [path for path in (home / "mlartifacts").rglob("*") if path.is_file()]
    assert files
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md", ".html", ".csv", ".svg", ".png"}


def test_a_cursor_belongs_to_its_store(home: Path) -> None:
    folder = handmade.make("cursor", handmade.spec(), 1)
    arm: ArmFolder = folder.arm("fedlora", 0)
    send(folder, handmade.spec())
    mine = json.loads((arm.path / "tracking.json").read_text())
    assert mine["uri"] == store.tracking_uri()
    assert track_arm._cursor(arm, mine["uri"]) == mine
    (arm.path / "tracking.json").write_text(json.dumps({**mine, "sent_rounds": 9}))
    assert track_arm._cursor(arm, mine["uri"])["sent_rounds"] == 0
    assert track_arm._cursor(arm, "http://elsewhere")["sent_rounds"] == 0
