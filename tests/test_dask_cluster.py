"""Campaigns on a Dask cluster of two workers in separate folders: the bits of this machine's own processes, also when one is killed."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from dask_cluster import DaskCluster
from handmade import home_is

from fedquad.errors import ServiceError
from fedquad.spec import ArmSpec, CampaignSpec, DataSpec, FleetSpec, TrainingSpec
from tasks import cluster_worker, prepare
from tasks.cluster import Cluster
from tasks.round import play
from tasks.session import Session

pytestmark = [pytest.mark.server, pytest.mark.timeout(420)]

BOARDS = {"jetson-agx-xavier": 2, "jetson-xavier-nx": 1, "jetson-tx2": 1}
SPEC = CampaignSpec(
    data=DataSpec(train=240, validation=64, test=300),  # two chunks to score
    fleet=FleetSpec(boards=BOARDS, jitter=0.1),
    training=TrainingSpec(steps=6, batch=8),
    arms=(ArmSpec(method="fedlora"), ArmSpec(method="fedlora:oracle")),
    rounds=2,
)


@dataclass
class Place:
    """A cluster, and what the campaign comes to on this machine."""

    folder: Path
    dask: DaskCluster
    reference: dict[str, list[str]]

    def spec(self, **fleet: Any) -> CampaignSpec:
        there = {"engine": "dask", "engine_address": self.dask.address, **fleet}
        return replace(SPEC, fleet=replace(SPEC.fleet, **there))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("dask")
    dask = DaskCluster(folder, 2)
    with pytest.MonkeyPatch.context() as patch:
        home_is(folder / "runs", patch)
        try:
            yield Place(folder, dask, played(SPEC, "here"))
        finally:
            dask.close()


def played(spec: CampaignSpec, name: str) -> dict[str, list[str]]:
    """The state's digest after each round of each arm."""

    async def all_arms() -> dict[str, list[str]]:
        async with prepare.opened(spec, name) as session:
            return await rounds(session)

    return asyncio.run(all_arms())


async def rounds(session: Session) -> dict[str, list[str]]:
    async def arm(label: str) -> list[str]:
        work = prepare.open_arm(session, label, 0)
        return [(await play(work)).state_digest for _ in range(session.spec.rounds)]

    labels = [one.name for one in session.spec.arms]
    return dict(zip(labels, await asyncio.gather(*map(arm, labels))))


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """What workers tell of, as it is heard."""
    found: list[Mapping[str, Any]] = []
    hear = Cluster._heard

    def note(cluster: Cluster, facts: Mapping[str, Any]) -> None:
        found.append(facts)
        hear(cluster, facts)

    monkeypatch.setattr(Cluster, "_heard", note)
    return found


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_cluster_gives_the_bits_of_this_machines_processes(
    place: Place, heard: list[Mapping[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed

    submitted = []
    submit = distributed.Client.submit

    def note(client: Any, *given: Any, **more: Any) -> Any:
        submitted.append(given)
        return submit(client, *given, **more)

    monkeypatch.setattr(distributed.Client, "submit", note)
    assert played(place.spec(), "there") == place.reference
    assert {type(text) for _, text in submitted} == {str}  # nothing of ours is pickled but a reference and texts
    assert {function for function, _ in submitted} == {cluster_worker.run}
    opened = Counter(facts["worker"] for facts in heard if facts["event"] == "opened")
    assert list(opened.values()) == [1, 1]
    assert {facts["worker"] for facts in heard if facts["event"] == "started"} == set(opened)
    assert files_below(place.folder / "runs" / "cache" / "exchange") == []


def test_a_worker_that_is_killed_in_mid_round_costs_no_bit(
    place: Place, heard: list[Mapping[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[str] = []
    hear = Cluster._heard

    def kill(cluster: Cluster, facts: Mapping[str, Any]) -> None:
        hear(cluster, facts)
        if not killed and cluster._backbone and facts["event"] == "started":  # a device trains
            os.kill(facts["pid"], signal.SIGKILL)
            killed.append(facts["key"])

    monkeypatch.setattr(Cluster, "_heard", kill)
    shared = place.folder / "shared"
    assert played(place.spec(exchange=str(shared)), "killed") == place.reference
    begun = Counter(facts["key"] for facts in heard if facts["event"] == "started")
    assert begun[killed[0]] == 2
    assert files_below(shared) == []


def test_a_scheduler_that_dies_ends_the_campaign_in_a_line(
    place: Place, heard: list[Mapping[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test of the module: after it there is no cluster."""
    hear = Cluster._heard

    def kill(cluster: Cluster, facts: Mapping[str, Any]) -> None:
        hear(cluster, facts)
        if cluster._backbone:
            place.dask.kill_scheduler()

    monkeypatch.setattr(Cluster, "_heard", kill)
    with pytest.raises(ServiceError, match=r"is gone .* `fedquad campaign resume NAME`") as found:
        played(place.spec(), "orphan")
    assert "\n" not in str(found.value)
