"""A round whose exchange stays away costs its devices, each with the cause in its facts, and no exception."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from artifact_server import serving
from fleet_of_three import assignment, pricing
from test_absent import SAID, WHO

from fedquad import discover
from fedquad.exchange.artifact_proxy import open_proxy
from fedquad.exchange.exchange import Exchange
from fedquad.fleets import fleet
from fedquad.learn.jobs import Train
from fedquad.prices.cost import estimate
from fedquad.spec import FleetSpec, TrainingSpec
from tasks.device_runs import DeviceRuns
from tasks.fleet import Answer, Job
from tasks.joined import Roster
from tasks.office import Office
from tasks.work_pool_fleet import WorkPoolFleet

BOARD = "jetson-agx-xavier"


def away() -> Exchange:
    """An exchange whose server has ended."""
    with serving() as server:
        url = server.url
    return Exchange(replace(open_proxy(urlsplit(url), "", "", ""), patience_seconds=0.2))


def test_a_device_whose_adapter_cannot_be_sent_by_the_deadline_is_lost_with_the_cause(tmp_path: Path) -> None:
    drawn = fleet.resolve(FleetSpec(boards={BOARD: 1}, pools={BOARD: WHO[0]}, deadline_seconds=1.5), discover.boards())
    cost, client = pricing(), None
    work: Any = client  # nothing is asked of Prefect before the adapter lies there
    office = Office(
        DeviceRuns(work, "c-1"), away(), "c-1", Roster((WHO,), (812,), ()), 60.0, "mlflow", "classification", heard={WHO: SAID}
    )  # fmt: skip
    (tmp_path / "sent").write_bytes(b"adapter")
    asked = assignment(0, (1,))
    train = Train(
        assignment=asked, training=TrainingSpec(), adapter=str(tmp_path / "sent"), digest="1f3a", shards="",
        key=(0, 0, 1, 0), round=1, out=str(tmp_path / "arm" / "spool" / "device-0000.safetensors"),
    )  # fmt: skip
    status = fleet.draw(drawn, cost, 0, 1)[0]
    job = Job(device=0, train=train, estimate=estimate(asked, cost, status))

    async def round() -> list[Answer]:
        return [one async for one in WorkPoolFleet(drawn, cost, office, 0).train([job], round=1, attempt=0)]

    (answer,) = asyncio.run(round())
    failure = json.loads(answer.document)["report"]["failure"]
    assert failure.startswith("its adapter could not be sent: the artifacts of 127.0.0.1:")
    assert "cannot be reached" in failure
    assert (answer.about["name"], answer.about["state"], answer.about["run"]) == ("agx-07", "not sent", "")
