"""A campaign on disk, and the home that holds them.

$FEDQUAD_HOME (default ./runs)
  mlflow.db, mlartifacts/, prefect/, cache/
  campaigns/NAME/
    spec.yaml  summary.json  lock  arms/LABEL-sSEED/
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedquad.errors import ChangedSpecError, SpecError, StoreError, one_of
from fedquad.rounds import facts
from fedquad.spec import CampaignSpec
from fedquad.spec_text import differences, plain, read_yaml, write_yaml
from fedquad.store import files, lock
from fedquad.store.arm import ArmFolder


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
        return [ArmFolder(path.parent) for path in sorted(self.path.glob("arms/*/arm.json"))]

    def stored_spec(self) -> dict[str, Any]:
        """The spec as plain data; turning it into a CampaignSpec is the edge's."""
        path = self.path / "spec.yaml"
        try:
            return read_yaml(path.read_text(encoding="utf-8"), str(path))
        except (OSError, SpecError) as error:
            raise StoreError(f"{path} cannot be read: {error}") from error

    def summary(self) -> dict[str, Any]:
        """summary.json, or as much of it as the finished rounds give."""
        path = self.path / "summary.json"
        return files.read_json(path) if path.exists() else self.summarise()

    def summarise(self) -> dict[str, Any]:
        """Derive the summary from the arms as they stand."""
        spec = self.stored_spec()
        arms: list[dict[str, Any]] = []
        digests: dict[str, str] = {}
        environment: dict[str, Any] = {}
        for label, method, params, seed in planned_arms(spec):
            folder = self.arm(label, seed)
            about = folder.description()
            digests.update(about.get("digests", {}))
            environment = about.get("environment", environment)
            arm = facts.arm_summary(label, method, params, seed, folder.rounds())
            arms.append({**arm, "failure": about.get("failure", "")})
        return facts.summary(
            self.name,
            arms,
            spec.get("target_accuracy"),
            digests,
            priced_as=spec["cost"]["priced_as"],
            environment=environment,
        )

    def write_summary(self) -> dict[str, Any]:
        document = self.summarise()
        files.write_json(self.path / "summary.json", document)
        return document

    def status(self) -> str:
        """How far it is: running, finished, failed (an arm gave up) or stopped."""
        if lock.is_held(self.path / "lock"):
            return "running"
        spec = self.stored_spec()
        arms = [self.arm(label, seed) for label, _, _, seed in planned_arms(spec)]
        if all(_has_finished(spec, arm.rounds()) for arm in arms):
            return "finished"
        return "failed" if any(arm.description().get("failure") for arm in arms) else "stopped"

    @contextmanager
    def open(self, spec: CampaignSpec) -> Iterator[None]:
        """Hold the campaign for this process, with its spec written, or refuse another spec under the same name."""
        with lock.hold(self.path / "lock", self.name):
            if self.exists():
                self.refuse_other_spec(spec)
            else:
                files.write_bytes(self.path / "spec.yaml", write_yaml(spec).encode())
            yield

    def refuse_other_spec(self, spec: CampaignSpec) -> None:
        """Refuse a spec that is not the stored one, naming the difference."""
        changed = differences(self.stored_spec(), plain(spec))
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


def _has_finished(spec: dict[str, Any], rounds: list[dict[str, Any]]) -> bool:
    reached = spec["stop"] == "target" and any(r["accuracy"] >= spec["target_accuracy"] for r in rounds)
    return reached or len(rounds) >= spec["rounds"]


def planned_arms(spec: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], int]]:
    """Every (label, method, params, seed) of a plain spec, in order."""
    for arm in spec["arms"]:
        label = arm["label"] or arm["method"].rsplit("/", 1)[-1].removesuffix(".py")
        for seed in spec["seeds"]:
            yield label, arm["method"], arm["params"], seed


def checked_name(name: str) -> str:
    """A campaign's name is a folder's."""
    if not name or "/" in name or name.startswith(".") or name in ("..", "."):
        raise SpecError(f"a campaign cannot be named {name!r}: a name is a folder's, without slash or leading dot")
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
