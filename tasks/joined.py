"""Which real devices are there, and who of them is device i.

Devices report by events (flows/serve.py); the latest of each within `fleet.status_seconds` counts, and one that has been silent for longer is
not there. Of the devices of a board's pool, the first by name are that board's; a campaign writes down who they were, so that going
on with it finds the same.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from fedquad import wire
from fedquad.fleets import reported
from fedquad.fleets.reported import Reported
from fedquad.rounds.unpack import Refused
from fedquad.spec import FleetSpec
from fedquad.store import files
from fedquad.store.campaign import CampaignFolder
from fedquad.store.shape import typed
from tasks.progress import announce

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

STATUS = "fedquad.device.status"
WAIT_SECONDS = 1.0
MOST_PAGES = 200
ROSTER = "devices.json"
SHAPE = {"places": [[str]], "examples": [int], "labels": [str]}

Who = tuple[str, str]  # pool, name


@dataclass(frozen=True, slots=True)
class Roster:
    """Who a campaign's devices are, and what they had when it began."""

    places: tuple[
        Who, ...
    ]  # pool and name of every device: both empty where it is simulated, the name where nobody came
    examples: tuple[int, ...]  # of each; 0 where it is simulated
    labels: tuple[str, ...]  # of all real devices together

    def real(self) -> dict[int, Who]:
        return {device: who for device, who in enumerate(self.places) if who[1]}

    def of(self, reports: Mapping[Who, Reported]) -> list[Reported | None]:
        return [reports.get(who) for who in self.places]


async def reports(client: "PrefectClient", age: float, wanted: Iterable[Who] = ()) -> dict[Who, Reported]:
    """The latest report of every device, in one query where all that are wanted are on its first page."""
    from prefect.events.filters import EventFilter

    now = datetime.now(timezone.utc)
    asked = EventFilter.model_validate(
        {
            "occurred": {"since": now - timedelta(seconds=age), "until": now + timedelta(seconds=age)},
            "event": {"name": [STATUS]},
            "order": "DESC",
        }
    )
    missing, found = set(wanted), dict[Who, Reported]()
    page: Any = await client.read_events(asked, limit=50)
    for _ in range(MOST_PAGES):
        for event in page.events:
            try:
                said = reported.read(dict(event.payload))
            except Refused as reason:
                announce("notice", message=f"a status was not taken: {reason}")
                continue
            found.setdefault((said.pool, said.name), said)
        missing -= found.keys()
        if page.next_page is None or (wanted and not missing):
            break
        page = await page.get_next_page(client)
    return {who: said for who, said in found.items() if not said.leaving}


async def gather(
    client: "PrefectClient", folder: CampaignFolder, spec: FleetSpec, objective: str
) -> tuple[Roster, dict[Who, Reported]]:
    """Who takes part: those written down, else, of those who join within `join_seconds`, the first by name."""
    written = _written(folder, spec)
    end = time.monotonic() + spec.join_seconds
    while True:
        there = await reports(client, spec.status_seconds)
        places = written.places if written else first_by_name(spec, there)
        missing = [who for who in places if who[0] and who not in there]
        if not missing or time.monotonic() > end:
            break
        await asyncio.sleep(WAIT_SECONDS)
    if missing:
        names = ", ".join(sorted({f"{name or 'a device'} of {pool}" for pool, name in missing}))
        announce(
            "notice",
            message=f"{len(missing)} devices did not join within {spec.join_seconds:g} s, and are absent: {names}",
        )
    if written:
        return written, there
    joined = [there.get(who) for who in places]
    roster = Roster(
        places,
        tuple(report.examples if report else 0 for report in joined),
        tuple(sorted({label for one in joined if one and one.objective == objective for label in one.labels})),
    )
    if any(joined):
        files.write_json(folder.path / ROSTER, asdict(roster))
    return roster, there


def first_by_name(spec: FleetSpec, there: Iterable[Who]) -> tuple[Who, ...]:
    """Of a pool's devices the first by name are its board's; a place stays empty where fewer came."""
    places: list[Who] = []
    for board, count in spec.boards.items():
        pool = spec.pools.get(board, "")
        names = sorted(name for of, name in there if of == pool)[:count] if pool else []
        places += [(pool, name) for name in names] + [(pool, "")] * (count - len(names))
    return tuple(places)


def _written(folder: CampaignFolder, spec: FleetSpec) -> Roster | None:
    """Who took part before, if the campaign has begun with anybody."""
    path = folder.path / ROSTER
    if not path.is_file():
        return None
    found = wire.from_json(Roster, typed(files.read_json(path), SHAPE, path))
    return found if len(found.places) == len(found.examples) == spec.size else None
