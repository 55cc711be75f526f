"""Send an arm's rounds to MLflow: one flat run per (campaign, label, seed), nothing pickled.

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
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from prefect import task
from prefect.cache_policies import NO_CACHE

from fedquad.spec import CampaignSpec
from fedquad.store import files
from fedquad.store.arm import ArmFolder
from fedquad.store.campaign import CampaignFolder, home, tracking_uri
from tasks import machine, metrics, run_tags, track_campaign
from tasks.progress import announce
from tasks.show import show_link

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

EXPERIMENT = "fedquad"
MLFLOW_UI = "http://127.0.0.1:5000"  # of `mlflow ui`
KEY_TAG = "fedquad_key"
DIGEST_LENGTH = 36  # MLflow's limit for a data set's digest
UNNAMEABLE = re.compile(r"[^\w-]")  # what MLflow takes in no model's name
ROUNDS_AT_ONCE = 32  # MLflow takes 1000 points in a request, and a round has some 25
PATIENCE_SECONDS = 30.0  # a server that does not answer is left alone so long: each try costs up to its timeout
TALKATIVE = ("alembic", "mlflow", "urllib3")  # they tell of every table created and every connection tried again
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # with a server it prints links between the JSON
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
            except unreachable() as error:
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
            except unreachable() as error:
                return self._give_up(error)
            return ""

    def page(self) -> str | None:
        """MLflow's page of this campaign's runs, where a server shows one; None where there is none, or it is out of reach."""
        if not self.uri.startswith(("http://", "https://")) or self._reason:
            return None
        with self._lock:
            try:
                experiment = _experiment(self._connect())
            except unreachable() as error:
                self._give_up(error)
                return None
        wanted = quote(f"tags.campaign = '{self.campaign.name}'")
        return f"{self.uri.rstrip('/')}/#/experiments/{experiment}/runs?searchFilter={wanted}"

    def link(self, label: str, seed: int) -> str:
        """Where an arm's run is in MLflow's pages, said once; a file's are where `mlflow ui` puts them unless told."""
        with self._lock:
            sending = self._sendings.get((label, seed))
            if sending is None or sending.is_linked or not sending.cursor["run_id"]:
                return ""
            sending.is_linked = True
            pages = self.uri if self.uri.startswith(("http://", "https://")) else MLFLOW_UI
            return f"{pages.rstrip('/')}/#/experiments/{sending.experiment}/runs/{sending.cursor['run_id']}"

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
        self.metric = self.arm.metric()
        self.cursor = _cursor(self.arm, tracker.uri)
        self.experiment = _experiment(client)
        self.is_linked = False  # from the arm's run in Prefect

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
        before = last = self.cursor["sent_rounds"]
        while self.arm.has_round(last + 1):
            last += 1
        if before == last and self.cursor["status"] == self._status(finished):
            return
        if not self.cursor["run_id"]:
            self._begin()
        elif self.cursor["status"] != "RUNNING":
            self._set_status("RUNNING")
        for first in range(before + 1, last + 1, ROUNDS_AT_ONCE):
            self._send_rounds([self.arm.facts(n) for n in range(first, min(first + ROUNDS_AT_ONCE, last + 1))])
        if last > before and not finished:
            self._send_machine(last)
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
        found = self.client.search_runs([self.experiment], f"tags.{KEY_TAG} = '{self.cursor['key']}'", max_results=1)
        if found:
            run = found[0]
        else:
            name = f"{self.campaign.name} {self.label} s{self.seed}"
            run = self.client.create_run(
                self.experiment, start_time=self.cursor["start_ms"], tags=self._tags(), run_name=name
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

    def _send_rounds(self, rounds: Sequence[Mapping[str, Any]]) -> None:
        """Some rounds at once: their figures, stamped with the fleet's time, their assignments, then the note that they are sent."""
        points, known = [], [self.cursor["best_score"]] if self.cursor["sent_rounds"] else []
        for facts in rounds:
            best = self.metric.best([*known, facts["score"]]) or 0.0
            known = [best]
            points += self._points(facts, best)
        self.client.log_batch(self.cursor["run_id"], metrics=points)
        for facts in rounds:
            assignments = {key: facts[key] for key in ("round", "assignments", "holders", "gradient_norms")}
            self.client.log_dict(self.cursor["run_id"], assignments, f"assignments/round-{facts['round']:04d}.json")
        self._save(sent_rounds=rounds[-1]["round"], best_score=best)

    def _points(self, facts: Mapping[str, Any], best: float) -> list["Metric"]:
        from mlflow.entities import Metric

        stamp, step = self.cursor["start_ms"] + int(facts["elapsed_seconds"] * 1000), facts["round"]
        names, metric = self.arm.description().get("metrics", [self.metric.name]), self.metric
        figures = {**metrics.figures(facts, names), metrics.best(metric.name): best}
        points = [Metric(key, value, stamp, step) for key, value in figures.items()]
        return [*points, Metric(metrics.by_second(metric.name), facts["score"], stamp, int(facts["elapsed_seconds"]))]

    def _send_machine(self, number: int) -> None:
        """How the machine fares, at its own time; after the note that the round is sent, so that a kill loses it and never doubles it."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        points = [Metric(key, value, now, number) for key, value in machine.figures().items()]
        self.client.log_batch(self.cursor["run_id"], metrics=points)

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
        state = facts["state_digest"][:DIGEST_LENGTH]
        wanted = f"source_run_id = '{run_id}' AND tags.state = '{state}'"
        if self.client.search_logged_models([self.experiment], wanted, max_results=1):
            return
        name = UNNAMEABLE.sub("-", f"{self.campaign.name}-{self.label}-s{self.seed}")
        shown = run_tags.arm_tags(self.campaign.name, self.spec, self.label, self.method, self.seed)
        params = run_tags.params(self.spec, self.label, self.seed)
        model = self.client.create_logged_model(
            self.experiment, name, run_id, {**shown, "state": state, "round": str(number)}, params, "adapter"
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


def unreachable() -> tuple[type[Exception], ...]:
    """What MLflow raises when its store cannot be reached or refuses."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError


@task(name="track", task_run_name="round {number} - track", cache_policy=NO_CACHE, persist_result=False)
async def track(tracker: Tracker, label: str, method: str, seed: int, number: int) -> str:
    """Bring MLflow up to date in a thread, and link its run from this one; out of reach is an answer, not a failure."""
    said = await asyncio.to_thread(tracker.send, label, method, seed)
    if link := tracker.link(label, seed):
        await show_link(tracker.campaign.name, label, seed, link)
    return said
