"""One arm's run in MLflow, brought up to date from what is committed on disk.

tracking.json in the arm's folder says how far it got, and whatever is sent twice has the same timestamp, which MLflow keeps once.
Metrics are stamped with the start of the run plus the fleet's seconds: the UI's relative-time axis then shows convergence
against them.
"""

import json
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedquad.spec import CampaignSpec
from fedquad.store import files
from fedquad.store.arm import ArmFolder
from fedquad.store.campaign import CampaignFolder
from tasks import machine, metrics, run_tags
from tasks.mlflow_store import experiment
from tasks.progress import announce

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

KEY_TAG = "fedquad_key"
DIGEST_LENGTH = 36  # MLflow's limit for a data set's digest
UNNAMEABLE = re.compile(r"[^\w-]")  # what MLflow takes in no model's name
MACHINE_SECONDS = 10.0  # between two readings of how the machine fares, as MLflow's own
ROUNDS_AT_ONCE = 32  # MLflow takes 1000 points in a request, and a round has some 25


class Sending:
    """Brings the run of one arm up to date."""

    def __init__(
        self,
        client: "MlflowClient",
        uri: str,
        campaign: CampaignFolder,
        spec: CampaignSpec,
        label: str,
        method: str,
        seed: int,
    ) -> None:
        self.client, self.uri = client, uri
        self.campaign, self.spec = campaign, spec
        self.label, self.method, self.seed = label, method, seed
        self.arm: ArmFolder = campaign.arm(label, seed)
        self.metric = self.arm.metric()
        self.cursor = _cursor(self.arm, uri)
        self.experiment = experiment(client)
        self.next_machine = 0.0
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
        if last > before and not finished and time.monotonic() >= self.next_machine:
            self._send_machine(last)
            self.next_machine = time.monotonic() + MACHINE_SECONDS
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
