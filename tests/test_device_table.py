"""The table of a round's devices: whole for a small fleet, readable for a large one."""

from typing import Any

from tasks.device_table import FAILED, MOST_ROWS, SLOWEST, device_table


def row(device: int, failure: str = "") -> dict[str, Any]:
    name = "strong" if device % 2 else "weak"
    return {
        "device": device, "class": name, "mode": "MAXN", "trained": [10, 11] if device % 2 else [11], "quantized": [],
        "seconds": float(device), "wait_seconds": 1000.0 - device, "failure": failure,
    }  # fmt: skip


def test_a_small_fleet_has_a_row_a_device_in_order():
    table, said = device_table([row(device) for device in range(MOST_ROWS)])
    assert [line["device"] for line in table] == list(range(MOST_ROWS))
    assert said == ""
    assert table[3] == {
        "device": 3, "class": "strong", "mode": "MAXN", "depth": 2, "quantized": 0, "seconds": 3.0, "waiting": 997.0, "failure": "",
    }  # fmt: skip


def test_a_large_fleet_has_its_classes_its_slowest_and_its_failures():
    rows = [row(device, "it never answered" if device % 33 == 0 else "") for device in range(1000)]
    table, said = device_table(rows)
    weak, strong, *others = table
    assert (weak["device"], weak["class"], weak["depth"], weak["seconds"]) == ("500 devices", "weak", 1.0, 499.0)
    assert (strong["device"], strong["class"], strong["depth"], strong["waiting"]) == (
        "500 devices",
        "strong",
        2.0,
        500.0,
    )
    assert (weak["failure"], strong["failure"]) == ("16 failed", "15 failed")
    slowest, failed = others[:SLOWEST], others[SLOWEST:]
    assert [line["device"] for line in slowest] == list(range(999, 989, -1))
    assert [line["device"] for line in failed] == list(range(0, 33 * FAILED, 33))
    assert {line["failure"] for line in failed} == {"it never answered"}
    assert all(list(line) == list(weak) for line in table)  # one set of columns
    assert said == f"1000 devices: each class's means, the {SLOWEST} slowest, {FAILED} of 31 that failed"


def test_nothing_is_said_of_failures_where_there_were_none():
    _, said = device_table([row(device) for device in range(MOST_ROWS + 1)])
    assert "failed" not in said
