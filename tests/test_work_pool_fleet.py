"""What a round of real devices loses, and why: an exchange that stays away, a deadline that passes; never an exception."""

import asyncio
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from artifact_server import serving
from fleet_of_three import assignment, pricing
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Failed, Running
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
from tasks.work_pool_fleet import Sent, WorkPoolFleet

BOARD = "jetson-agx-xavier"


def away() -> Exchange:
    """An exchange whose server has ended."""
    with serving() as server:
        url = server.url
    return Exchange(replace(open_proxy(urlsplit(url), "", "", ""), patience_seconds=0.2))


DEADLINE = 1.5


@pytest.fixture
def office() -> Office:
    work: Any = None  # nothing is asked of Prefect
    runs = DeviceRuns(work, "c-1")
    return Office(runs, away(), "c-1", Roster((WHO,), (812,), ()), 60.0, "mlflow", "classification", heard={WHO: SAID})


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "sent").write_bytes(b"adapter")
    asked = assignment(0, (1,))
    train = Train(
        assignment=asked, training=TrainingSpec(), adapter=str(tmp_path / "sent"), digest="1f3a", shards="",
        key=(0, 0, 1, 0), round=1, out=str(tmp_path / "arm" / "spool" / "device-0000.safetensors"),
    )  # fmt: skip
    status = fleet.draw(drawn(), pricing(), 0, 1)[0]
    return Job(device=0, train=train, estimate=estimate(asked, pricing(), status))


def drawn() -> fleet.Fleet:
    spec = FleetSpec(boards={BOARD: 1}, pools={BOARD: WHO[0]}, deadline_seconds=DEADLINE)
    return fleet.resolve(spec, discover.boards())


def test_a_device_whose_adapter_cannot_be_sent_by_the_deadline_is_lost_with_the_cause(office: Office, job: Job) -> None:
    async def round() -> list[Answer]:
        return [one async for one in WorkPoolFleet(drawn(), pricing(), office, 0).train([job], round=1, attempt=0)]

    (answer,) = asyncio.run(round())
    failure = json.loads(answer.document)["report"]["failure"]
    assert failure.startswith("its adapter could not be sent: the artifacts of 127.0.0.1:")
    assert "cannot be reached" in failure
    assert (answer.about["name"], answer.about["state"], answer.about["run"]) == ("agx-07", "not sent", "")


@pytest.mark.parametrize(
    ("state", "ended", "trouble", "late"),
    [
        (Completed(), DEADLINE - 0.5, "", False),
        (Completed(), DEADLINE + 0.5, "", True),
        (Completed(), DEADLINE - 0.5, "its exchange is away", True),
        (Failed(), DEADLINE - 0.5, "", True),
        (Running(), None, "", True),
    ],
)
def test_an_answer_that_was_there_by_the_deadline_is_taken_however_late_it_is_seen(
    office: Office, job: Job, state: State, ended: float | None, trouble: str, late: bool
) -> None:
    began = time.time() - 60
    one = Sent(job, WHO, uuid4(), time.monotonic() - 60, began, 2**20, trouble=trouble)
    end = None if ended is None else datetime.fromtimestamp(began + ended, UTC)
    run = FlowRun(id=one.id, flow_id=uuid4(), state=state, end_time=end)
    here = WorkPoolFleet(drawn(), pricing(), office, 0)
    assert here._is_late(one, run) is late
    assert here._is_late(one, None)
