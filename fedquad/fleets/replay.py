"""A real run as a trace: what every device reported and took, round by round, so that the simulated fleet can live through it again.

    fedquad fleet record NAME --to run.json        writes it from a campaign's facts
    fleet: {trace: run.json}                       replays it

A device without a row in a round could not be asked; one whose answer failed never answers, after as long as it took.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedquad.errors import SpecError
from fedquad.types import Bools, Floats, Statuses

SCHEMA = 1
COLUMNS = (
    "memory_bytes", "flops", "memory_bandwidth", "upload_bandwidth", "download_bandwidth", "training_watts",
    "idle_watts", "radio_watts",
)  # fmt: skip
MOST = 1e300


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replay:
    """A row a round and device: the columns of `COLUMNS`, and what became of what the device was asked."""

    rounds: tuple[Mapping[int, Mapping[str, float]], ...]
    seconds: tuple[Mapping[int, float], ...]
    lost: tuple[frozenset[int], ...]

    def _at(self, round: int) -> int:
        if not 1 <= round <= len(self.rounds):
            raise SpecError(
                f"fleet.trace replays {len(self.rounds)} rounds, but round {round} is asked; lower `rounds`"
            )
        return round - 1

    def recorded(self, statuses: Statuses, round: int) -> Statuses:
        """The statuses as they were; who has no row is not there."""
        rows = self.rounds[self._at(round)]
        columns: dict[str, Any] = {name: np.array(getattr(statuses, name)) for name in COLUMNS}
        for device, values in rows.items():
            if device >= len(statuses):
                raise SpecError(f"fleet.trace has a device {device}, but fleet.boards has {len(statuses)}")
            for name, value in values.items():
                columns[name][device] = value
        columns["available"] = np.isin(np.arange(len(statuses)), list(rows))
        return replace(statuses, **columns)

    def fates(self, size: int, round: int) -> tuple[Floats, Bools]:
        """Seconds each device took, NaN where it was not asked, and who never answered."""
        seconds = np.full(size, np.nan)
        for device, took in self.seconds[self._at(round)].items():
            seconds[device] = took
        return seconds, np.isin(np.arange(size), list(self.lost[round - 1]))


def parse(document: Any, where: str) -> Replay:
    """Read what `record` wrote."""
    if document.get("replay") != SCHEMA:
        raise SpecError(f"{where}: replay is {document.get('replay')!r}, but this version reads {SCHEMA}")
    try:
        rounds = [[_row(row, where) for row in one["devices"]] for one in document["rounds"]]
    except (KeyError, TypeError, ValueError) as error:
        raise SpecError(
            f"{where} is no record of a run: {type(error).__name__} at {error}; write it with `fedquad fleet record`"
        ) from None
    return Replay(
        rounds=tuple({device: values for device, values, _, _ in rows} for rows in rounds),
        seconds=tuple({device: seconds for device, _, seconds, _ in rows} for rows in rounds),
        lost=tuple(frozenset(device for device, _, _, is_lost in rows if is_lost) for rows in rounds),
    )


def _row(row: Mapping[str, Any], where: str) -> tuple[int, dict[str, float], float, bool]:
    values = {name: math.inf if row[name] is None else float(row[name]) for name in COLUMNS}
    seconds, device = float(row["seconds"]), row["device"]
    for name, value in {**values, "seconds": seconds}.items():
        if not value >= 0 or (name in ("memory_bytes", "seconds") and not value < MOST):
            raise SpecError(f"{where}: {name} of device {device} is {value}, but it is not negative, and finite")
    if type(device) is not int or device < 0:
        raise SpecError(f"{where}: a device is {device!r}, but it is a whole number from 0")
    return device, values, seconds, bool(row["failure"])


def record(rounds: Iterable[Mapping[str, Any]], campaign: str, arm: str) -> str:
    """A campaign's facts as a trace, as JSON; only a real fleet's rounds say what their devices reported."""
    document = {
        "replay": SCHEMA,
        "campaign": campaign,
        "arm": arm,
        "rounds": [
            {"round": facts["round"], "devices": [_recorded(row, facts["round"]) for row in facts["assignments"]]}
            for facts in rounds
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _recorded(row: Mapping[str, Any], round: int) -> dict[str, Any]:
    status = row.get("run", {}).get("status")
    if not status:
        raise SpecError(
            f"round {round}, device {row['device']}: the facts hold no status; only runs of real devices can be replayed"
        )
    said = {name: row["memory_bytes"] if name == "memory_bytes" else status[name] for name in COLUMNS}
    return {"device": row["device"], "seconds": row["seconds"], "failure": row["failure"], **said}
