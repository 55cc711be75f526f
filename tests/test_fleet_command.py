"""`fedquad fleet show | sample`: what they say, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import fedquad

from fedquad import discover


@pytest.fixture
def run(capsys: Any, monkeypatch: Any) -> Any:
    return lambda *arguments: fedquad(capsys, monkeypatch, "fleet", *map(str, arguments))


def test_show_lists_every_board_and_mode(run: Any) -> None:
    said = run("show")
    assert said.code == 0
    for name, board in discover.boards().items():
        assert name in said.out
        assert all(mode.name in said.out for mode in board.modes)


def test_show_says_where_each_number_of_a_board_is_from(run: Any) -> None:
    said, data = run("show", "jetson-tx2"), run("show", "jetson-tx2", "--json").document
    assert "FedAdapter" in said.out
    (board,) = data["boards"]
    assert board["sources"]["reserve_gib"].startswith("assumed")
    assert board["modes"][1]["peak_flops"]["fp32"] == pytest.approx(0.4352e12)


def test_a_sample_is_the_campaigns_own_draw(run: Any) -> None:
    first, again, other = run("sample", "--json"), run("sample", "--json"), run("sample", "--json", "--seed", 1)
    assert first.document == again.document != other.document
    devices = first.document["devices"]
    assert [one["device"] for one in devices] == list(range(9))
    assert devices[0]["upload_bandwidth"] is None  # communication is free: JSON knows no infinity
    assert "roberta-base" in run("sample").out


def test_a_sample_can_be_drawn_into_a_picture(run: Any, tmp_path: Path) -> None:
    assert run("sample", "--picture", tmp_path / "f.png").code == 0
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


def test_a_sample_follows_a_recorded_trace(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "phones.json"
    path.write_text(json.dumps({"devices": [{"computation": 10, "communication": 800}]}))
    devices = run("sample", "--json", "--set", f"fleet.trace={path}").document["devices"]
    assert {one["upload_bandwidth"] for one in devices} == {1e5}
    assert len({one["flops"] for one in devices}) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "jetson-tx9"], "there is no board 'jetson-tx9'; there are:"),
        (["sample", "--set", "fleet.spread=boards", "--set", "fleet.modes={jetson-tx2: [MAXX]}"], "'MAXX'"),
        (["sample", "--set", "fleet.trace=nowhere.csv"], "fleet.trace names 'nowhere.csv', which cannot be read"),
        (["sample", "--picture", "fleet.bmp"], "--picture is 'fleet.bmp'"),
        (["sample", "--set", "fleet.boards={jetson-tx2: -1}"], "fleet.boards"),
    ],
)
def test_what_is_no_fleet_is_refused_in_one_line(run: Any, arguments: list[str], message: str) -> None:
    said = run(*arguments)
    assert said.code in (3, 4)
    assert said.err.count("\n") == 1
    assert message in said.err
