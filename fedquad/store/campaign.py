"""A campaign on disk, and the home that holds them.

$FEDQUAD_HOME (default ./runs)
  mlflow.db, mlartifacts/, prefect/, cache/
  campaigns/NAME/
    spec.yaml  summary.json  lock  arms/LABEL-sSEED/
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedquad.errors import ChangedSpecError, SpecError, StoreError, one_of
from fedquad.objective import ACCURACY, Metric, metric_of
from fedquad.rounds import facts
from fedquad.spec import NAME, NAMED, CampaignSpec, require
from fedquad.spec_text import SPEC_BYTES, differences, on_base, plain, read_yaml, write_yaml
from fedquad.store import exports, files, lock, rewind
from fedquad.store.arm import ArmFolder
from fedquad.store.progress import Progress, is_finished
from fedquad.store.shape import typed

Facts = dict[tuple[str, int], list[dict[str, Any]]]  # by label and seed
SPEC_SHAPE: dict[str, Any] = {
    "arms": [{"method": str, "label": str, "params": dict}],
    "seeds": [int],
    "rounds": int,
    "stop": str,
    "model": {"name": str},
    "data": {"name": str},
    "cost": {"priced_as": str},
    "fleet": {"boards": dict, "pools": dict},
    "training": dict,
}


def home() -> Path:
    return Path(os.environ.get("FEDQUAD_HOME") or "runs").resolve()


def tracking_uri() -> str:
    """Where MLflow's figures go: the server the user named, or a file of the home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


@dataclass(frozen=True, slots=True)
class CampaignFolder:
    """The folder of one campaign."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def exists(self) -> bool:
        return (self.path / "spec.yaml").exists()

    def arm(self, label: str, seed: int) -> ArmFolder:
        return ArmFolder(self.path / "arms" / f"{label}-s{seed}")

    def arms(self) -> list[ArmFolder]:
        """The arms that there are."""
        return [ArmFolder(self.path / "arms" / name) for name in files.names(self.path / "arms")]

    def stored_spec(self) -> dict[str, Any]:
        """The spec as plain data; turning it into a CampaignSpec is the edge's.

        One from before there were stacks means that each device trains alone, whatever is the default today.
        """
        spec = self._written_spec()
        return {**spec, "training": {"cohort": 1, **spec["training"]}}

    def _written_spec(self) -> dict[str, Any]:
        path = self.path / "spec.yaml"
        try:
            spec = read_yaml(files.read_bytes(path, SPEC_BYTES).decode("utf-8"), str(path))
        except (UnicodeDecodeError, SpecError) as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
        return typed(spec, SPEC_SHAPE, path)  # type: ignore[no-any-return]

    def spec_digest(self) -> str:
        """What the arms note as the spec they were begun with."""
        return files.digest_of(self._written_spec())

    def facts(self) -> Facts:
        """Every committed round of every planned arm, the histories checked."""
        return {(label, seed): self.arm(label, seed).rounds() for label, _, _, seed in planned_arms(self.stored_spec())}

    def summarise(self, known: Facts | None = None) -> dict[str, Any]:
        """Derive the summary from the arms as they stand, their histories checked; `known` spares reading them again."""
        spec, known = self._own_spec(), self.facts() if known is None else known
        arms: list[dict[str, Any]] = []
        digests: dict[str, str] = {}
        environment: dict[str, Any] = {}
        metric = ACCURACY
        for label, method, params, seed in planned_arms(spec):
            folder = self.arm(label, seed)
            about, rounds = folder.description(), known[label, seed]
            folder.refuse_lost(len(rounds))
            digests.update(about.get("digests", {}))
            environment = about.get("environment", environment)
            metric = metric_of(about) if about else metric
            arm = facts.arm_summary(
                label,
                method,
                params,
                seed,
                rounds,
                about.get("start"),
                about.get("digests"),
                metric,
                about.get("metrics", (metric.name,)),
            )
            arms.append({**arm, "failure": about.get("failure", "")})
        return facts.summary(
            self.name,
            arms,
            goal(spec),
            digests,
            metric,
            priced_as=spec["cost"]["priced_as"],
            environment=environment,
        )

    def _own_spec(self) -> dict[str, Any]:
        """The stored spec, if it is the one that every arm was begun with."""
        spec = self.stored_spec()
        found = self.spec_digest()
        for arm in self.arms():
            begun = arm.description().get("inputs", {}).get("spec", found)
            if begun != found:
                raise StoreError(
                    f"{self.path / 'spec.yaml'} was changed: arm {arm.name} was begun with {begun[:12]}, and it is {found[:12]}"
                )
        return spec

    def check(self) -> bool:
        """Read all that results rest on, tensors too, and refuse what is not what was written, or cannot be gone on with.

        Returns whether nothing is left to do: every arm has finished, and what it hands out is of its states.
        """
        spec = self._own_spec()
        known = {arm.path: arm.check() for arm in self.arms()}
        planned = [self.arm(label, seed) for label, _, _, seed in planned_arms(spec)]
        done = [known.get(arm.path, Progress(metric=arm.metric())) for arm in planned]
        if all(is_finished(one, spec["rounds"], spec["stop"], goal(spec)) for one in done):
            return not any(arm.is_current() and exports.stale(arm.path, one) for arm, one in zip(planned, done))
        for arm in planned:
            arm.refuse_old(arm.description())
        return False

    def renew_lines(self) -> None:
        """Make every arm's rounds.jsonl what its manifests say: opening an arm does it, and a finished one is not opened again."""
        for arm in self.arms():
            if arm.is_current() and arm.last_number():
                arm.renew_lines()

    def write_summary(self) -> dict[str, Any]:
        """Write summary.json, which is derived: what it held does not matter."""
        document = self.summarise()
        files.write_json(self.path / "summary.json", document)
        return document

    def status(self, summary: Mapping[str, Any] | None = None) -> str:
        """How far it is: running, finished, failed (an arm gave up) or stopped; read from the summary if there is one at hand."""
        if lock.is_held(self.path / "lock"):
            return "running"
        spec = self.stored_spec()
        summary = summary or self.summarise()
        arms = summary["arms"]
        target, metric = goal(spec), metric_of(summary)
        if all(is_finished(_progress(arm, metric), spec["rounds"], spec["stop"], target) for arm in arms):
            return "finished"
        return "failed" if any(arm["failure"] for arm in arms) else "stopped"

    def rewind(self, number: int) -> list[Path]:
        """Go back to a kept round in every arm that is beyond it; nothing moves unless all of them can."""
        with lock.hold(self.path / "lock", self.name):
            beyond = [arm for arm in self.arms() if arm.last_number() > number]
            for arm in beyond:
                rewind.refuse(arm, number)
            aside = [rewind.rewind(arm, number) for arm in beyond]
            self.write_summary()
            return aside

    @contextmanager
    def open(self, spec: CampaignSpec) -> Iterator[None]:
        """Hold the campaign for this process, with its spec written, or refuse another spec under the same name."""
        with lock.hold(self.path / "lock", self.name):
            if self.exists():
                self.refuse_other_spec(spec)
            else:
                text = write_yaml(spec).encode()
                require(
                    len(text) <= SPEC_BYTES,
                    "the campaign",
                    f"{len(text)} bytes of YAML",
                    f"it has at most {SPEC_BYTES}",
                )
                files.write_bytes(self.path / "spec.yaml", text)
            yield

    def refuse_other_spec(self, spec: CampaignSpec) -> None:
        """Refuse a spec that is not the stored one, naming the difference; a setting that there was not yet is at its default there."""
        changed = differences(on_base(self.stored_spec(), plain(CampaignSpec())), plain(spec))
        if changed:
            raise ChangedSpecError(
                f"campaign {self.name!r} exists with another spec ({'; '.join(changed[:4])}{'; ...' if len(changed) > 4 else ''}); "
                f"give another --name, or --fresh to set the old one aside"
            )

    def set_aside(self) -> Path | None:
        """Move a campaign out of the way (`--fresh`), keeping it under a dated name."""
        if not self.exists():
            return None
        with lock.hold(self.path / "lock", self.name):
            aside = self.path.with_name(f"{self.name}.{time.strftime('%Y%m%d-%H%M%S')}")
            try:
                os.rename(self.path, aside)
            except OSError as error:
                raise files.disk_error(error, self.path) from error
        return aside


def goal(spec: Mapping[str, Any]) -> float | None:
    """The target of a plain spec, by either of its names."""
    found = spec.get("target")
    return spec.get("target_accuracy") if found is None else found


def _progress(arm: Mapping[str, Any], metric: Metric) -> Progress:
    """How far an arm of a summary is."""
    return Progress(last_round=len(arm["rounds"]), best_score=arm["best_score"], metric=metric)


def planned_arms(spec: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], int]]:
    """Every (label, method, params, seed) of a plain spec, in order."""
    for arm in spec["arms"]:
        label = arm["label"] or arm["method"].rsplit("/", 1)[-1].removesuffix(".py")
        for seed in spec["seeds"]:
            yield label, arm["method"], arm["params"], seed


def checked_name(name: str) -> str:
    """A campaign's name is a folder's."""
    if not NAME.fullmatch(name):
        raise SpecError(f"a campaign cannot be named {name[:80]!r}: {NAMED}")
    return name


def campaign(name: str) -> CampaignFolder:
    return CampaignFolder(home() / "campaigns" / checked_name(name))


def campaigns() -> list[CampaignFolder]:
    """All campaigns of the home, by name."""
    return [CampaignFolder(path.parent) for path in sorted((home() / "campaigns").glob("*/spec.yaml"))]


def existing(name: str) -> CampaignFolder:
    folder = campaign(name)
    if not folder.exists():
        raise one_of("campaign", name, [c.name for c in campaigns()])
    return folder
