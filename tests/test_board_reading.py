"""A board is read at once: from a Jetson of each generation, a Pi and a PC; and whatever lies in a file's place does no harm."""

import os
import stat
import tempfile
import time
from math import isnan, nan
from pathlib import Path

import published
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published import AGX_ORIN, MACHINES, ORIN_NANO, PC, PI_5, TX2, Machine

from fedquad.device import commands, files
from fedquad.device.board import BoardReading, read_board
from fedquad.device.commands import first_lines
from fedquad.device.memory import RESERVE_BYTES

ALWAYS = (
    "model",
    "release",
    "kernel",
    "memory_total_bytes",
    "memory_free_bytes",
    "mode",
    "modes",
    "cpu_hertz",
    "celsius",
)


def nothing(*command: str, lines: int) -> str:
    """No tool is there."""
    return ""


def read(machine: Machine, root: Path) -> BoardReading:
    return read_board(machine.lie_in(root), machine.run)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_board_says_what_it_is_what_it_spares_and_how_warm_it_is(machine: Machine, tmp_path: Path) -> None:
    reading = read(machine, tmp_path)
    assert not set(ALWAYS) & set(reading.missing), reading
    available = int(machine.files["proc/meminfo"].split("MemAvailable:")[1].split()[0])
    assert reading.memory_free_bytes == 1024 * available - RESERVE_BYTES
    assert reading.mode in reading.modes


def test_a_tx2_with_jetpack_4_keeps_its_rails_in_iio_and_its_mode_in_a_number(tmp_path: Path) -> None:
    reading = read(TX2, tmp_path)
    assert (reading.model, reading.release, reading.mode) == ("quill", "JetPack 4 (L4T 32.7.1)", "MAXP_CORE_ARM")
    assert (reading.cpu_hertz, reading.cpu_max_hertz) == (2.034e9, 2.0352e9)
    assert (reading.gpu_hertz, reading.gpu_max_hertz) == (114.75e6, 1.122e9)
    assert reading.watts == 5.297
    assert [rail.name for rail in reading.rails][:2] == ["VDD_SYS_GPU", "VDD_SYS_SOC"]
    assert reading.celsius == 42.5  # the PMIC's 100 is no measurement
    assert reading.missing == ("throttled",)


def test_an_agx_orin_with_jetpack_5_has_no_input_rail_so_its_rails_add_up(tmp_path: Path) -> None:
    reading = read(AGX_ORIN, tmp_path)
    assert (reading.release, reading.mode) == ("JetPack 5 (L4T 35.1.0)", "MODE_30W")
    assert {rail.name for rail in reading.rails} == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"}
    assert reading.watts == pytest.approx(9.428, abs=0.01)  # as tegrastats has it, less what VIN_SYS_5V0 feeds
    assert reading.celsius == 43.5  # a zone that is off says -256
    assert reading.throttled is False  # a fan that runs slows nothing
    assert reading.missing == ()


def test_an_orin_nano_with_jetpack_6_is_throttled_by_an_alert(tmp_path: Path) -> None:
    reading = read(ORIN_NANO, tmp_path)
    assert (reading.release, reading.mode) == ("JetPack 6 (L4T 36.4.3)", "25W")
    assert (reading.gpu_hertz, reading.gpu_max_hertz) == (306e6, 918e6)  # not the video engine's
    assert reading.watts == pytest.approx(4.74, abs=0.01)
    assert reading.throttled is True
    assert reading.missing == ()


def test_a_raspberry_pi_has_clocks_and_a_temperature_and_says_that_it_measures_no_power(tmp_path: Path) -> None:
    reading = read(PI_5, tmp_path)
    assert (reading.model, reading.mode) == ("Raspberry Pi 5 Model B Rev 1.0", "ondemand")
    assert (reading.cpu_hertz, reading.cpu_max_hertz, reading.celsius) == (1.5e9, 2.4e9, 61.2)
    assert reading.throttled is False
    assert isnan(reading.watts)
    assert reading.missing == ("gpu_hertz", "gpu_max_hertz", "watts", "rails")


def test_a_pc_names_its_processor_profile_and_packages(tmp_path: Path) -> None:
    reading = read(PC, tmp_path)
    assert (reading.model, reading.release) == ("ASUS ProArt X670E", "Ubuntu 24.04.1 LTS")
    assert (reading.mode, reading.modes) == ("balanced", ("low-power", "balanced", "performance"))
    assert (reading.cpu_hertz, reading.celsius) == (5100.5e6, 54.125)  # the disk is warmer
    assert [rail.name for rail in reading.rails] == ["package-0"]  # the core is part of it
    assert reading.watts == 0.0  # a counter that stands still
    assert reading.missing == ("cpu_max_hertz", "gpu_hertz", "gpu_max_hertz")


def test_tegrastats_says_what_sysfs_leaves_out_and_nothing_else(tmp_path: Path) -> None:
    kept = {path: text for path, text in TX2.files.items() if "thermal" not in path and "ina3221x" not in path}
    line = published.LINES[2]
    seen = []

    def run(*command: str, lines: int) -> str:
        seen.append(command)
        return line.text if command[0] == "tegrastats" else ""

    reading = read_board(Machine(name="", source="", files=kept).lie_in(tmp_path), run)
    assert (reading.celsius, reading.watts, len(reading.rails)) == (line.celsius, line.watts, line.rails)
    assert reading.gpu_hertz == 114.75e6  # sysfs's own
    assert ("tegrastats", "--interval", "100") in seen


def test_a_board_whose_sysfs_says_all_is_not_asked_again(tmp_path: Path) -> None:
    def run(*command: str, lines: int) -> str:
        assert command == ("nvpmodel", "-q")
        return ""

    read_board(AGX_ORIN.lie_in(tmp_path), run)


def test_an_empty_root_misses_everything_and_names_it(tmp_path: Path) -> None:
    reading = read_board(tmp_path, nothing)
    everything = [name for name in BoardReading.__dataclass_fields__ if name != "missing"]
    assert list(reading.missing) == everything


def test_this_machine_can_be_read() -> None:
    reading = read_board()
    assert reading.memory_total_bytes > reading.memory_free_bytes > 0
    assert reading.kernel == os.uname().release


def test_a_file_of_proc_is_read_to_its_end_though_it_comes_by_the_page() -> None:
    whole = Path("/proc/self/smaps").read_text()
    assert len(whole) > 8192
    found = files.text(Path("/proc/self/smaps"))
    assert len(found) > min(len(whole), files.MOST_BYTES) / 2


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_a_file_of_a_hundred_megabytes_a_pipe_and_a_folder_do_no_harm(machine: Machine, tmp_path: Path) -> None:
    machine.lie_in(tmp_path)
    for number, path in enumerate(sorted(machine.files)):
        (tmp_path / path).unlink()
        if number % 3 == 0:
            with open(tmp_path / path, "wb") as file:
                file.truncate(100 * 2**20)
        elif number % 3 == 1:
            os.mkfifo(tmp_path / path)
        else:
            (tmp_path / path).mkdir()
    began = time.process_time()
    reading = read_board(tmp_path, machine.run)
    assert time.process_time() - began < 2
    assert {"model", "memory_total_bytes", "celsius", "watts"} <= set(reading.missing)


def test_a_folder_of_folders_without_end_and_a_link_to_itself_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "sys/class/thermal").mkdir(parents=True)
    (tmp_path / "sys/class/thermal/thermal_zone0").symlink_to("thermal_zone0")
    (tmp_path / "sys/class/hwmon").symlink_to("thermal")
    for number in range(3000):
        (tmp_path / f"sys/class/thermal/thermal_zone{number + 1}").mkdir()
    assert isnan(read_board(tmp_path, nothing).celsius)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(machine=st.sampled_from(MACHINES), data=st.data())
def test_files_of_garbage_are_never_an_exception(machine: Machine, data: st.DataObject, tmp_path: Path) -> None:
    root = machine.lie_in(Path(tempfile.mkdtemp(dir=tmp_path)))
    spoiled = data.draw(st.lists(st.sampled_from(sorted(machine.files)), min_size=1, max_size=6, unique=True))
    for path in spoiled:
        (root / path).unlink()
        (root / path).write_bytes(data.draw(st.binary(max_size=60)))
    said = data.draw(st.text(max_size=80))
    reading = read_board(root, lambda *command, lines: said)
    words = (
        reading.model,
        reading.release,
        reading.kernel,
        reading.mode,
        *reading.modes,
        *(r.name for r in reading.rails),
    )
    assert all(word.isprintable() and len(word) < 300 for word in words)
    assert isnan(reading.memory_free_bytes) or reading.memory_free_bytes >= 0
    assert isnan(reading.celsius) or -40 < reading.celsius < 150


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_a_command_that_hangs_is_ended_after_two_seconds_with_what_it_started(tools: Path) -> None:
    tool(tools, "nvpmodel", f"echo 'NV Power Mode: MAXN'; sleep 60 & echo $! > {tools}/child; wait")
    began = time.monotonic()
    assert first_lines("nvpmodel", "-q", lines=9) == "NV Power Mode: MAXN"
    assert 1.9 < time.monotonic() - began < 10
    child = int((tools / "child").read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and _state(child) != "Z":
        assert time.monotonic() < deadline, "the child of an ended command lives on"
        time.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return "Z"


def test_one_line_of_an_endless_command_and_the_beginning_of_a_flood_are_taken_at_once(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "MOST_SECONDS", 60.0)  # so that it is not the time that ends them
    tool(tools, "tegrastats", "echo $*; echo more; exec sleep 100")
    tool(tools, "flood", "exec tr '\\0' x < /dev/zero")
    began = time.monotonic()
    assert first_lines("tegrastats", "--interval", "100", lines=1) == "--interval 100"
    assert 0 < len(first_lines("flood", lines=1)) <= 64 * 1024
    assert time.monotonic() - began < 50


def test_a_command_that_fails_or_is_none_says_nothing(tools: Path) -> None:
    tool(tools, "fails", "echo no >&2; exit 3")
    assert first_lines("fails", lines=1) == ""
    (tools / "broken").write_text("\x7fELF")
    (tools / "broken").chmod(0o755)
    assert first_lines("broken", lines=1) == ""
    assert first_lines("no-such-tool", lines=1) == ""


def test_missing_is_nan_empty_or_none_and_a_sleeping_gpu_is_not_missing(tmp_path: Path) -> None:
    files = {**AGX_ORIN.files, "sys/class/devfreq/17000000.ga10b/cur_freq": "0\n"}
    reading = read_board(Machine(name="", source="", files=files).lie_in(tmp_path), nothing)
    assert reading.gpu_hertz == 0.0
    assert "gpu_hertz" not in reading.missing
    assert reading.mode == ""  # modes are described, but neither nvpmodel nor its status answers
    assert reading.missing == ("mode",)
    assert nan not in (reading.watts, reading.celsius)
