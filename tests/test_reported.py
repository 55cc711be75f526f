"""A device's word on itself: taken field by field, refused with the reason, priced in the server's own unit."""

import json
from typing import Any

import numpy as np
import pytest
from fleet_of_three import pricing
from hypothesis import given
from hypothesis import strategies as st

from fedquad import discover
from fedquad.fleets import fleet, reported
from fedquad.prices.cost import step_flops
from fedquad.rounds.unpack import Refused
from fedquad.spec import FleetSpec
from fedquad.types import Assignment

BOARDS = {"jetson-agx-xavier": 1, "jetson-xavier-nx": 1, "jetson-tx2": 1}
GOOD: dict[str, Any] = {
    "schema": 2, "name": "agx-07", "pool": "jetson-agx", "version": "2026.11.0", "memory_bytes": 3_000_000_000, "mode": "MAXN",
    "watts": 21.5, "upload_bandwidth": 1e6, "download_bandwidth": None, "examples": 812, "labels": ["1", "2"], "opened": "a" * 64,
    "backbone": "", "problem": "", "step_seconds": {"1": 0.1, "12": 0.4}, "loads": 1, "age_seconds": 0.5, "leaving": False,
    "exchange": "mlflow", "objective": "classification",
}  # fmt: skip


def test_a_good_report_is_read_as_it_is() -> None:
    found = reported.read(json.loads(json.dumps(GOOD)))
    assert (found.name, found.labels, found.step_seconds) == ("agx-07", ("1", "2"), {1: 0.1, 12: 0.4})
    assert found.download_bandwidth is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", 1), ("name", "../x"), ("name", "A"), ("pool", ""), ("memory_bytes", -1), ("memory_bytes", 1.5), ("memory_bytes", True),
        ("watts", float("nan")), ("watts", "12"), ("examples", 10**10), ("labels", "abc"), ("labels", ["x"] * 5000), ("labels", [1]),
        ("opened", "xyz"), ("problem", "x" * 2000), ("step_seconds", {"one": 1.0}), ("step_seconds", {"1": float("inf")}),
        ("step_seconds", {str(depth): 1.0 for depth in range(9)}), ("step_seconds", []), ("loads", None), ("age_seconds", -1), ("leaving", 0),
        ("exchange", None), ("exchange", "x" * 2000),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_name(key: str, value: object) -> None:
    with pytest.raises(Refused, match=r"it|label|depth"):
        reported.read({**GOOD, key: value})


def test_a_missing_and_an_unknown_field_are_refused() -> None:
    for wrong in ({**GOOD, "more": 1}, {key: value for key, value in GOOD.items() if key != "mode"}, [], None):
        with pytest.raises(Refused):
            reported.read(wrong)


@given(
    st.dictionaries(
        st.sampled_from(sorted(GOOD)), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists)
    )
)
def test_garbage_is_read_or_refused_and_nothing_else(changes: dict[str, Any]) -> None:
    try:
        found = reported.read({**GOOD, **changes})
    except Refused:
        return
    assert found.mode.isprintable()
    assert found.memory_bytes >= 0


def test_speed_is_what_a_step_costs_over_what_it_took() -> None:
    cost = pricing()
    layers = tuple(range(cost.layers))
    one = Assignment(
        device=0, present=layers, trained=layers[-1:], ranks=(cost.rank,) * cost.layers, steps=1, learning_rate=1.0
    )
    said = reported.read({**GOOD, "step_seconds": {"1": 0.5}})
    assert reported.speed(said, cost) == pytest.approx(step_flops(one, cost) / 0.5)
    assert reported.speed(reported.read({**GOOD, "step_seconds": {}}), cost) is None


def test_rows_of_real_devices_are_theirs_and_the_others_stay_as_drawn() -> None:
    spec = FleetSpec(boards=BOARDS)
    cost, drawn = pricing(), fleet.resolve(spec, discover.boards())
    statuses = fleet.draw(drawn, cost, 0, 1)
    said: list[reported.Reported | None] = [None] * len(drawn)
    said[1] = reported.read(GOOD)
    found = reported.as_reported(statuses, said, cost, [device != 0 for device in range(len(drawn))])
    assert not found.available[0]
    assert found.available[1]
    assert (found[1].memory_bytes, found[1].mode, found[1].training_watts) == (3_000_000_000, "MAXN", 21.5)
    assert found[1].download_bandwidth == statuses[1].download_bandwidth
    assert np.array_equal(np.delete(found.flops, 1), np.delete(statuses.flops, 1))
