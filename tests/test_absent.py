"""Why a real device is not asked: it is silent, sends adapters elsewhere, or could not load what the campaign needs."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from test_reported import GOOD

from fedquad.errors import ExchangeError
from fedquad.exchange.exchange import open_exchange
from fedquad.fleets import reported
from tasks import exchange_url, joined
from tasks.device_runs import DeviceRuns
from tasks.joined import Roster
from tasks.office import Office

WHO = ("jetson-agx", "agx-07")
SAID = reported.read(GOOD)


def office(tmp_path: Any, said: reported.Reported | None, exchange: str = "mlflow") -> Office:
    client: Any = None  # nothing is asked of Prefect
    roster = Roster((WHO,), (812,), ("1", "2"))
    heard = {WHO: said} if said else {}
    place = open_exchange(str(tmp_path))
    return Office(
        DeviceRuns(client, "c-1"), place, "c-1", roster, 60.0, exchange, "classification", opening="a" * 64, heard=heard
    )


def test_a_device_that_is_there_and_has_no_problem_is_asked(tmp_path: Any) -> None:
    assert office(tmp_path, SAID).why_absent(WHO) == ""


def test_a_silent_device_is_absent(tmp_path: Any) -> None:
    assert office(tmp_path, None).why_absent(WHO) == "it has not reported within 60 s"


def test_a_device_that_exchanges_elsewhere_is_absent_and_says_what_to_do(tmp_path: Any) -> None:
    reason = office(tmp_path, replace(SAID, exchange="s3://fleet/adapters")).why_absent(WHO)
    assert reason == (
        "it exchanges adapters by 's3://fleet/adapters', but the campaign's fleet.exchange is 'mlflow'; start it with that "
        "--exchange"
    )


def test_a_device_that_read_its_labels_for_something_else_is_absent(tmp_path: Any) -> None:
    reason = office(tmp_path, replace(SAID, objective="regression")).why_absent(WHO)
    assert "'regression', but the campaign learns 'classification'; start it with --objective" in reason


def test_a_problem_makes_a_device_absent_from_the_campaign_that_it_is_of(tmp_path: Any) -> None:
    broken = replace(SAID, problem="its backbone has another digest")
    assert office(tmp_path, broken).why_absent(WHO) == "its backbone has another digest"
    assert office(tmp_path, broken).why_out_of_reach(WHO) == ""  # so that it is asked to load again
    assert office(tmp_path, replace(broken, opened="b" * 64)).why_absent(WHO) == ""


def test_while_prefect_is_away_no_device_can_report_and_none_is_silent(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seconds away: for a minute after it, reports may be two seconds older."""
    asked: list[float] = []
    fails = [OSError("refused"), OSError("refused"), None]

    async def reports(client: Any, age: float, wanted: Any) -> dict[Any, Any]:
        if error := fails.pop(0) if fails else None:
            raise error
        asked.append(age)
        return {}

    monkeypatch.setattr(joined, "reports", reports)
    there = office(tmp_path, SAID)
    asyncio.run(there.patiently(there.listen))
    asyncio.run(there.listen())
    there.away_at -= 61
    asyncio.run(there.listen())
    assert all(62.0 <= age < 70.0 for age in asked[:2])
    assert asked[2] == 60.0


def test_an_exchange_has_one_name_on_both_sides_and_no_password_in_it() -> None:
    assert exchange_url.named("mlflow") == "mlflow"
    assert exchange_url.named("/mnt/fleet/") == exchange_url.named("/mnt/fleet") == "/mnt/fleet"
    assert exchange_url.named("/") == "/"
    with pytest.raises(ExchangeError, match="password"):
        exchange_url.named("sftp://me:secret@host/adapters")
