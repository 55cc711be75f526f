"""A recorded fleet: read from JSON and CSV, put in place of the draw, refused with file and field."""

import json

import numpy as np
import pytest

from fedquad import discover
from fedquad.errors import SpecError
from fedquad.fleets import fleet, trace
from fedquad.prices.cost import cost_model
from fedquad.prices.shapes import SHAPES
from fedquad.spec import CostSpec, FleetSpec, ModelSpec, TrainingSpec

RECORDED = {
    "round_seconds": 600,
    "devices": [
        {"computation": 50, "communication": 8000, "memory_bytes": 3e9},
        {"computation": 200, "communication": 800, "active": [0, 900], "inactive": [500, 1300], "finish_time": 1800},
    ],
}
CSV = (
    "computation,communication,active,inactive,finish_time,memory_bytes\n50,8000,,,,3e9\n200,800,0;900,500;1300,1800,\n"
)
COST = cost_model(SHAPES["roberta-base"], ModelSpec(), TrainingSpec(batch=32), CostSpec(sequence=128), labels=3)


def test_json_and_csv_say_the_same() -> None:
    a, b = trace.parse(json.dumps(RECORDED), "a.json"), trace.parse(CSV, "a.csv")
    assert np.array_equal(a.milliseconds, b.milliseconds)
    assert np.array_equal(a.bandwidth, b.bandwidth)
    assert np.array_equal(a.memory_bytes, b.memory_bytes)
    assert a.windows == b.windows


def test_a_device_is_there_inside_its_windows_which_loop() -> None:
    recorded = trace.parse(json.dumps(RECORDED), "a.json")
    # Rounds begin at 0, 600, 1200, 1800 = 0, 2400 = 600 ...
    assert [bool(recorded.is_available(round)[1]) for round in range(1, 6)] == [True, False, True, True, False]
    assert all(recorded.is_available(round)[0] for round in range(1, 6))


def test_recorded_speed_bandwidth_and_memory_replace_the_drawn() -> None:
    spec = FleetSpec(boards={"phone-a18": 3}, trace="a.json")
    phones = fleet.resolve(spec, discover.boards(), trace.parse(json.dumps(RECORDED), "a.json"))
    statuses = fleet.draw(phones, COST, 0, 1)
    inference = COST.forward_flops / COST.batch
    assert inference / statuses.flops == pytest.approx([0.05, 0.2, 0.05])
    assert statuses.upload_bandwidth.tolist() == [1e6, 1e5, 1e6]
    assert statuses.memory_bytes[0] == 3_000_000_000
    assert statuses.memory_bytes[1] > COST.constants.m_f


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("{", "t.json", r"t\.json line 1 is not JSON"),
        ("[]", "t.json", r"t\.json: a trace is a mapping with `devices`"),
        ('{"devices": []}', "t.json", "holds no devices"),
        ('{"devices": [{"computation": 5}]}', "t.json", r"t\.json: device 0: communication is missing"),
        ('{"devices": [{"computation": -5, "communication": 1}]}', "t.json", "device 0: computation is -5"),
        ('{"devices": [{"computation": "x", "communication": 1}]}', "t.json", "computation is 'x', but it is a number"),
        ("computation,colour\n1,2\n", "t.csv", r"t\.csv: there is no column 'colour'"),
        ("computation,communication,active\n1,2,0;5\n", "t.csv", "active has 2 times and inactive 0"),
    ],
)
def test_a_bad_trace_is_refused_with_file_and_field(text: str, where: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        trace.parse(text, where)
