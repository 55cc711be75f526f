"""Send an arm's rounds to MLflow: one flat run per (campaign, label, seed), a log_batch a round, nothing pickled.

Rounds are read from what is committed on disk, so this can lag, be killed or find no server without harm:
tracking.json in the arm's folder says how far it got, and whatever is sent twice has the same timestamp, which MLflow
keeps once. Metrics are stamped with the start of the run plus the fleet's seconds: the UI's relative-time axis then
shows convergence against them.

mlflow is imported inside functions: it costs 3 s, and the first round hides them.
"""

import asyncio
import json
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from fedquad.spec import CampaignSpec
from fedquad.store import files
from fedquad.store.arm import ArmFolder
from fedquad.store.campaign import CampaignFolder, home, tracking_uri
from tasks import metrics, run_tags, track_campaign
from tasks.progress import announce

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "fedquad"
KEY_TAG = "fedquad_key"
DIGEST_LENGTH = 36  # MLflow's limit for a data set's digest
UNNAMEABLE = re.compile(r"[^\w-]")  # what MLflow takes in no model's name
PATIENCE_SECONDS = 30.0  # a server that does not answer is left alone so long: each try costs up to its timeout
TALKATIVE = ("alembic", "mlflow", "urllib3")  # they tell of every table created and every connection tried again
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class Tracker:
    """Sends the arms of one campaign. Not a record: Prefect looks into records that a task is given."""

    def __init__(self, campaign: CampaignFolder, spec: CampaignSpec) -> None:
        self.campaign = campaign
        self.spec = spec
        self.uri = tracking_uri()
        self._lock = threading.Lock()
        self._sendings: dict[tuple[str, int], Sending] = {}
        self._client: MlflowClient | None = None
        self._reason = ""  # why MLflow is out of reach; empty while it is not
        self._silent_until = 0.0

    def send(self, label: str, method: str, seed: int, finished: bool = False) -> str:
        """Send the committed rounds that MLflow has not got; returns "" or why it could not."""
        with self._lock:
            if self._reason and not finished and time.monotonic() < self._silent_until:
                return self._reason
            try:
                self._sending(label, method, seed).send(finished)
            except _unreachable() as error:
                return self._give_up(error)
            if self._reason:
                self._reason = ""
                announce("notice", message=f"MLflow answers again at {self.uri}")
            return ""

    def send_campaign(self) -> str:
        """Give the campaign's own run its report; returns "" or why it could not."""
        with self._lock:
            if self._reason and time.monotonic() < self._silent_until:
                return self._reason
            try:
                client = self._connect()
                track_campaign.send(client, _experiment(client), self.campaign)
            except _unreachable() as error:
                return self._give_up(error)
            return ""

    def _sending(self, label: str, method: str, seed: int) -> "Sending":
        """The one that knows how far this arm has been sent."""
        client = self._connect()
        if (label, seed) not in self._sendings:
            self._sendings[label, seed] = Sending(client, self, label, method, seed)
        return self._sendings[label, seed]

    def _connect(self) -> "MlflowClient":
        if self._client is None:
            for key, value in SETTINGS.items():
                os.environ.setdefault(key, value)
            from mlflow import MlflowClient

            for name in TALKATIVE:
                logging.getLogger(name).setLevel(logging.ERROR)
            self._client = MlflowClient(tracking_uri=self.uri)
        return self._client

    def _give_up(self, error: Exception) -> str:
        """Remember, and say once, that MLflow is out of reach."""
        if not self._reason:
            why = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
            is_server = self.uri.startswith(
                ("http://", "https://")
            )  # MLflow's reason is then the address in 200 letters
            cause = f"at {self.uri}" if is_server else f"({why})"
            announce(
                "notice", message=f"MLflow is out of reach {cause}; the campaign goes on and sends its rounds later"
            )
            self._reason = why
        self._silent_until = time.monotonic() + PATIENCE_SECONDS
        return self._reason


class Sending:
    """Brings the run of one arm up to date."""

    def __init__(self, client: "MlflowClient", tracker: Tracker, label: str, method: str, seed: int) -> None:
        self.client, self.uri = client, tracker.uri
        self.campaign, self.spec = tracker.campaign, tracker.spec
        self.label, self.method, self.seed = label, method, seed
        self.arm: ArmFolder = tracker.campaign.arm(label, seed)
        self.cursor = _cursor(self.arm, tracker.uri)

    def send(self, finished: bool) -> None:
        """Send what is new; begin again with a new run if somebody deleted the old one."""
        from mlflow.exceptions import MlflowException

        try:
            self._send(finished)
        except MlflowException:
            if not self._is_gone():
                raise
            self._save(**_new_cursor(self.uri))
            self._send(finished)

    def _is_gone(self) -> bool:
        """Whether our run was deleted, for now or for good."""
        from mlflow.exceptions import MlflowException

        if not self.cursor["run_id"]:
            return False
        try:
            return bool(self.client.get_run(self.cursor["run_id"]).info.lifecycle_stage == "deleted")
        except MlflowException as error:
            return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")

    def _send(self, finished: bool) -> None:
        last = self.cursor["sent_rounds"]
        while self.arm.has_round(last + 1):
            last += 1
        if self.cursor["sent_rounds"] == last and self.cursor["status"] == self._status(finished):
            return
        if not self.cursor["run_id"]:
            self._begin()
        elif self.cursor["status"] != "RUNNING":
            self._set_status("RUNNING")
        for number in range(self.cursor["sent_rounds"] + 1, last + 1):
            self._send_round(self.arm.facts(number))
        if last and self.spec.keep_every and last % self.spec.keep_every == 0:
            self._send_folder("adapter", f"adapter/round-{last:04d}")
        if finished:
            self._send_folder("adapter", "adapter/last")
            self._send_folder("best", "adapter/best")
            self._send_model()
            self._set_status(self._status(finished))

    def _begin(self) -> None:
        """Find the run that a killed process made, or make it; then say what it is."""
        from mlflow.entities import DatasetInput, Param

        self._save()
        experiment = _experiment(self.client)
        found = self.client.search_runs([experiment], f"tags.{KEY_TAG} = '{self.cursor['key']}'", max_results=1)
        if found:
            run = found[0]
        else:
            name = f"{self.campaign.name} {self.label} s{self.seed}"
            run = self.client.create_run(
                experiment, start_time=self.cursor["start_ms"], tags=self._tags(), run_name=name
            )
        params = [Param(key, value) for key, value in run_tags.params(self.spec, self.label, self.seed).items()]
        self.client.log_batch(run.info.run_id, params=params)
        inputs: list[DatasetInput] = _inputs(self.spec, self.arm.description().get("digests", {}))
        self.client.log_inputs(run.info.run_id, inputs)
        self._mark_superseded(run.info.run_id)
        self._save(run_id=run.info.run_id, supersedes=[])

    def _mark_superseded(self, by: str) -> None:
        """Tag the runs whose rounds were set aside with the one that goes on instead."""
        from mlflow.exceptions import MlflowException

        for old in self.cursor["supersedes"]:
            try:
                self.client.set_tag(old, "superseded_by", by)
            except MlflowException as error:
                if (
                    error.error_code != "RESOURCE_DOES_NOT_EXIST"
                ):  # deleted meanwhile: nobody takes it for the right one
                    raise

    def _tags(self) -> dict[str, str]:
        arm = next(arm for arm in self.spec.arms if arm.name == self.label)
        return {
            KEY_TAG: self.cursor["key"],
            **run_tags.arm_tags(self.campaign.name, self.spec, self.label, self.method, self.seed),
            **run_tags.source(self.arm.description()),
            "mlflow.note.content": run_tags.note(self.campaign.name, self.spec, arm, self.seed, self.arm.metric()),
        }

    def _send_round(self, facts: Mapping[str, Any]) -> None:
        """One round: its figures, stamped with the fleet's time, its assignments, then the note that it is sent."""
        from mlflow.entities import Metric

        stamp, step = self.cursor["start_ms"] + int(facts["elapsed_seconds"] * 1000), facts["round"]
        about, metric = self.arm.description(), self.arm.metric()
        known = [self.cursor["best_score"]] if self.cursor["sent_rounds"] else []
        best = metric.best([*known, facts["score"]]) or 0.0
        figures = {**metrics.figures(facts, about.get("metrics", [metric.name])), metrics.best(metric.name): best}
        points = [Metric(key, value, stamp, step) for key, value in figures.items()]
        by_second = Metric(metrics.by_second(metric.name), facts["score"], stamp, int(facts["elapsed_seconds"]))
        self.client.log_batch(self.cursor["run_id"], metrics=[*points, by_second])
        assignments = {key: facts[key] for key in ("round", "assignments", "holders", "gradient_norms")}
        self.client.log_dict(self.cursor["run_id"], assignments, f"assignments/round-{step:04d}.json")
        self._save(sent_rounds=step, best_score=best)

    def _send_folder(self, name: str, target: str) -> None:
        folder = self.arm.path / name
        if folder.exists():
            self.client.log_artifacts(self.cursor["run_id"], str(folder), target)

    def _send_model(self) -> None:
        """The best adapter as a model of its own, so that MLflow ranks adapters over campaigns; once for a state."""
        from mlflow.entities import LoggedModelOutput, Metric

        best, number = self.arm.path / "best", self.arm.progress().best_round
        if not best.exists() or not number:
            return
        run_id, facts = self.cursor["run_id"], self.arm.facts(number)
        experiment = self.client.get_run(run_id).info.experiment_id
        state = facts["state_digest"][:DIGEST_LENGTH]
        wanted = f"source_run_id = '{run_id}' AND tags.state = '{state}'"
        if self.client.search_logged_models([experiment], wanted, max_results=1):
            return
        name = UNNAMEABLE.sub("-", f"{self.campaign.name}-{self.label}-s{self.seed}")
        shown = run_tags.arm_tags(self.campaign.name, self.spec, self.label, self.method, self.seed)
        params = run_tags.params(self.spec, self.label, self.seed)
        model = self.client.create_logged_model(
            experiment, name, run_id, {**shown, "state": state, "round": str(number)}, params, "adapter"
        )
        self.client.log_model_artifacts(model.model_id, str(best))
        split = self.arm.description().get("digests", {}).get("split", "")[:DIGEST_LENGTH]
        stamp = self.cursor["start_ms"] + int(facts["elapsed_seconds"] * 1000)
        for key, value in metrics.figures(facts, self.arm.description().get("metrics", ["accuracy"])).items():
            if key.startswith("quality/"):
                point = Metric(key, value, stamp, number, model.model_id, self.spec.data.name, split)
                self.client.log_batch(run_id, metrics=[point])
        self.client.finalize_logged_model(model.model_id, "READY")
        self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=number)])

    def _set_status(self, status: str) -> None:
        if status == "RUNNING":
            self.client.update_run(self.cursor["run_id"], status=status)
        else:
            self.client.set_terminated(self.cursor["run_id"], status)
        self._save(status=status)

    def _status(self, finished: bool) -> str:
        if not finished:
            return "RUNNING"
        return "FAILED" if self.arm.description().get("failure") else "FINISHED"

    def _save(self, **changes: Any) -> None:
        self.cursor = files.write_sealed(self.arm.path / "tracking.json", {**self.cursor, **changes}, indent=1)


def _cursor(arm: ArmFolder, uri: str) -> dict[str, Any]:
    """How far the arm has been sent to this store; another store gets everything anew, and so does one whose cursor is damaged."""
    cursor = arm.tracking()
    if not cursor and (arm.path / "tracking.json").exists():
        announce(
            "notice", message=f"{arm.path / 'tracking.json'} is damaged; MLflow gets {arm.name} anew, as another run"
        )
    if cursor.get("uri") != uri:
        return _new_cursor(uri)
    return cursor if cursor["key"] else {**_new_cursor(uri), "supersedes": cursor["supersedes"]}


def _new_cursor(uri: str) -> dict[str, Any]:
    """The key is written before the run is made, so that a kill in between does not leave a run that nobody finds."""
    return {
        "schema": 1,
        "uri": uri,
        "key": uuid.uuid4().hex,
        "start_ms": time.time_ns() // 1_000_000,
        "run_id": "",
        "sent_rounds": 0,
        "status": "RUNNING",
        "best_score": 0.0,
        "supersedes": [],
    }


def _experiment(client: "MlflowClient") -> str:
    """The experiment all campaigns share, made by whoever comes first."""
    from mlflow.exceptions import MlflowException

    for _ in range(2):
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        is_server = tracking_uri().startswith(("http://", "https://"))
        try:
            return str(
                client.create_experiment(
                    EXPERIMENT, artifact_location=None if is_server else (home() / "mlartifacts").as_uri()
                )
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    raise AssertionError("an experiment that exists can be found")


def _inputs(spec: CampaignSpec, digests: Mapping[str, str]) -> list[Any]:
    """What the arm was computed from, as data set inputs: comparing runs with other digests compares other things."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    names = {"split": spec.data.name, "backbone": spec.model.name}
    return [
        DatasetInput(
            Dataset(
                names.get(kind, kind), digest[:DIGEST_LENGTH], "local", json.dumps({"kind": kind, "sha256": digest})
            ),
            [InputTag("mlflow.data.context", kind)],
        )
        for kind, digest in digests.items()
    ]


def _unreachable() -> tuple[type[Exception], ...]:
    """What MLflow raises when its store cannot be reached or refuses."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError


@task(name="track", task_run_name="round {number} - track", cache_policy=NO_CACHE, persist_result=False)
async def track(tracker: Tracker, label: str, method: str, seed: int, number: int) -> str:
    """Bring MLflow up to date in a thread; out of reach is an answer, not a failure."""
    return await asyncio.to_thread(tracker.send, label, method, seed)
