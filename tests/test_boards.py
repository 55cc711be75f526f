"""Every board's profile keeps the contract, and peaks are what the data sheets say."""

from dataclasses import replace

import pytest

from fedquad import discover
from fedquad.errors import SpecError, UnknownNameError
from fedquad.fleets.boards import (
    CLASSES,
    Board,
    free_bytes,
    memory_bandwidth,
    peak_flops,
    sustained_flops,
    training_watts,
)

BOARDS = discover.boards()


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_named_as_its_file_and_sane_in_every_mode(name: str) -> None:
    board = BOARDS[name]
    assert board.name == name
    assert any(mode.usual for mode in board.modes)
    assert 0.2 * 2**30 < free_bytes(board) < board.ram_gib * 2**30
    for mode in board.modes:
        assert 0 < sustained_flops(board, mode) < peak_flops(board, mode) < 1e14
        assert 1e9 < memory_bandwidth(board, mode) < 2e12
        assert board.idle_watts <= training_watts(board, mode) <= max(board.uncapped_watts, mode.watts or 0)


def test_the_boards_the_project_promises_are_there() -> None:
    promised = {"jetson-tx2", "jetson-xavier-nx", "jetson-xavier-nx-16gb", "jetson-agx-xavier", "jetson-nano"}
    promised |= {"jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin", "raspberry-pi-5", "rtx-3090", "rtx-a6000"}
    assert promised | {"phone-a18", "phone-snapdragon-8-gen-2"} <= set(BOARDS)


@pytest.mark.parametrize(
    ("name", "mode", "fp32", "fp16", "gigabytes"),
    [
        ("jetson-tx2", "MAXN", 0.666, 1.332, 59.7),  # the paper's 1.33 TFLOPS
        ("jetson-tx2", "MAXQ", 0.435, 0.870, 42.6),
        ("jetson-xavier-nx", "MODE_10W_4CORE", 0.617, 4.94, 51.2),
        ("jetson-agx-xavier", "MAXN", 1.410, 11.28, 136.5),
        ("jetson-agx-xavier", "MODE_10W", 0.266, 2.13, 68.2),
        ("jetson-agx-orin", "MAXN", 5.33, 42.6, 204.7),
        ("rtx-3090", "default", 35.58, 71.2, 936.0),
        ("raspberry-pi-5", "default", 0.154, 0.307, 17.1),
    ],
)
def test_peaks_follow_from_cores_and_clocks(name: str, mode: str, fp32: float, fp16: float, gigabytes: float) -> None:
    board = BOARDS[name]
    assert peak_flops(board, board.mode(mode)) / 1e12 == pytest.approx(fp32, rel=0.003)
    assert peak_flops(board, board.mode(mode), "fp16") / 1e12 == pytest.approx(fp16, rel=0.003)
    assert memory_bandwidth(board, board.mode(mode)) / 1e9 == pytest.approx(gigabytes, rel=0.003)


def test_bf16_is_faster_where_there_are_units_for_it_and_as_fast_as_fp32_elsewhere() -> None:
    orin, tx2 = BOARDS["jetson-agx-orin"], BOARDS["jetson-tx2"]
    assert sustained_flops(orin, orin.modes[0], "bf16") > 2 * sustained_flops(orin, orin.modes[0])
    assert sustained_flops(tx2, tx2.modes[0], "bf16") == sustained_flops(tx2, tx2.modes[0])


def test_modes_that_would_invert_the_classes_do_not_take_part() -> None:
    usual = {
        name: [sustained_flops(BOARDS[name], mode) for mode in BOARDS[name].modes if mode.usual]
        for name in ("jetson-tx2", "jetson-xavier-nx", "jetson-agx-xavier")
    }
    tx2, nx, agx = usual.values()
    assert min(tx2) < min(nx) < min(agx)
    assert max(tx2) < max(nx) < max(agx)
    assert (len(tx2), len(nx)) == (4, 4)  # the paper's "four computational modes"


def test_a_profile_without_a_source_is_refused_with_file_and_field() -> None:
    tx2: Board = BOARDS["jetson-tx2"]
    lacking = {key: value for key, value in tx2.sources.items() if key != "ram_gib"}
    with pytest.raises(SpecError, match=r"fedquad/fleets/devices/jetson_tx2\.py: sources lacks ram_gib"):
        replace(tx2, sources=lacking)
    with pytest.raises(SpecError, match="sources lacks lanes"):
        replace(tx2, sources={**tx2.sources, "lanes": " "})


def test_impossible_numbers_are_refused_with_file_and_field() -> None:
    tx2 = BOARDS["jetson-tx2"]
    with pytest.raises(SpecError, match=r"jetson_tx2\.py: reserve_gib is 9"):
        replace(tx2, reserve_gib=9)
    with pytest.raises(SpecError, match=r"jetson_tx2\.py: ram_gib is -1"):
        replace(tx2, ram_gib=-1)
    with pytest.raises(UnknownNameError, match=f"'huge'.*{CLASSES[1]}"):
        replace(tx2, device_class="huge")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="MAXQ"):
        tx2.mode("MAXX")
