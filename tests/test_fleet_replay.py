"""A recorded run as a trace: what was reported and taken comes back exactly, and what is no record is refused."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fleet_of_three import pricing

from fedquad import discover
from fedquad.errors import SpecError
from fedquad.fleets import fleet, replay, trace
from fedquad.spec import FleetSpec

BOARDS = {"jetson-agx-xavier": 1, "jetson-xavier-nx": 1, "jetson-tx2": 1}
STATUS = {
    "flops": 1.2345678901234567e9, "memory_bandwidth": 1e10, "upload_bandwidth": None, "download_bandwidth": 2.5e6,
    "training_watts": 20.0, "idle_watts": 2.0, "radio_watts": 1.0,
}  # fmt: skip


def facts(round: int, **failures: str) -> dict[str, Any]:
    rows = [
        {
            "device": device, "memory_bytes": 10**9 + device, "seconds": 0.1 * (device + round), "failure": failures.get(f"d{device}", ""),
            "run": {"status": STATUS},
        }
        for device in (0, 2)
    ]  # fmt: skip
    return {"round": round, "assignments": rows}


def test_what_was_recorded_comes_back_exactly() -> None:
    spec = FleetSpec(boards=BOARDS)
    text = replay.record([facts(1), facts(2, d2="it fell silent")], "mine", "fedquad-s0")
    found = trace.parse(text, "run.json")
    drawn = replace(fleet.resolve(spec, discover.boards()), trace=found)
    cost = pricing()
    first, second = fleet.draw(drawn, cost, 0, 1), fleet.draw(drawn, cost, 7, 2)
    assert first.available.tolist() == [True, False, True]
    assert first.flops[2] == STATUS["flops"]
    assert math.isinf(first.upload_bandwidth[0])
    assert second.memory_bytes[0] == 10**9
    fates = fleet.fates(drawn, 0, 0, 2)
    assert fates.dropped.tolist() == [False, False, True]
    assert fates.seconds is not None
    assert fates.seconds[0] == 0.2
    assert np.isnan(fates.seconds[1])
    with pytest.raises(SpecError, match="replays 2 rounds"):
        fleet.draw(drawn, cost, 0, 3)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.update(replay=2),
        lambda d: d.update(rounds=3),
        lambda d: d["rounds"][0].pop("devices"),
        lambda d: d["rounds"][0]["devices"][0].update(seconds=-1),
        lambda d: d["rounds"][0]["devices"][0].update(seconds=math.inf),
        lambda d: d["rounds"][0]["devices"][0].update(device="0"),
        lambda d: d["rounds"][0]["devices"][0].update(flops="fast"),
    ],
)
def test_what_is_no_record_is_refused_with_the_file(damage: Any) -> None:
    document = json.loads(replay.record([facts(1)], "mine", "fedquad-s0"))
    damage(document)
    with pytest.raises(SpecError, match=r"run\.json"):
        trace.parse(json.dumps(document), "run.json")


def test_a_simulated_run_cannot_be_recorded() -> None:
    plain = {"round": 1, "assignments": [{"device": 0, "memory_bytes": 1, "seconds": 1.0, "failure": ""}]}
    with pytest.raises(SpecError, match="real devices"):
        replay.record([plain], "mine", "fedlora-s0")
