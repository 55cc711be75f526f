"""What boards print is read as published, of every generation; garbage is read as nothing and never raises."""

from math import isnan, nan

import published
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedquad.device import clocks, identity, memory, modes, thermal, watts
from fedquad.device.tegrastats import parse_tegrastats
from fedquad.device.watts import Rail


@pytest.mark.parametrize("line", published.LINES, ids=lambda line: f"jetpack {line.jetpack}: {line.source}")
def test_a_line_of_tegrastats_is_read_as_published(line: published.Line) -> None:
    stats = parse_tegrastats(line.text)
    assert stats.cpu_hertz == pytest.approx(line.cpu_hertz, nan_ok=True)
    assert stats.gpu_hertz == pytest.approx(line.gpu_hertz, nan_ok=True)
    assert stats.celsius == pytest.approx(line.celsius, nan_ok=True)
    assert len(stats.rails) == line.rails
    assert watts.total(stats.rails) == pytest.approx(line.watts, nan_ok=True)


def test_three_generations_of_jetpack_are_among_the_lines() -> None:
    assert {4, 5, 6} <= {line.jetpack for line in published.LINES}


@pytest.mark.parametrize("source", published.NVPMODEL)
def test_the_mode_is_what_nvpmodel_names(source: str) -> None:
    printed, mode = published.NVPMODEL[source]
    assert modes.parse_nvpmodel(printed) == mode


def test_modes_are_those_of_nvpmodels_file_and_its_status_is_a_number_among_them() -> None:
    described = modes.parse_nvpmodel_conf(published.modes("MAXN", "MODE_10W") + "< PM_CONFIG DEFAULT=1 >\n")
    assert described == {0: "MAXN", 1: "MODE_10W"}
    assert modes.parse_status("pmode:0001 fmode:quiet\n") == 1
    assert modes.parse_status("") == -1


@pytest.mark.parametrize("source", published.RELEASES)
def test_jetpack_and_l4t_are_read_from_the_first_line(source: str) -> None:
    line, said = published.RELEASES[source]
    assert identity.parse_nv_tegra_release(line + "\n# KERNEL_VARIANT: oot\n") == said


@pytest.mark.parametrize("printed", published.PI_THROTTLED)
def test_a_pi_is_throttled_by_what_holds_now(printed: str) -> None:
    assert thermal.parse_pi(printed + "\n") is published.PI_THROTTLED[printed]
    assert thermal.parse_pi("throttled=") is None


def test_a_temperature_that_cannot_be_is_none() -> None:
    assert thermal.hottest([("cpu", 40.0), ("cv0", -256.0), ("gpu", 255.0), ("PMIC-Die", 100.0), ("aux", nan)]) == 40.0
    assert isnan(thermal.hottest([("cv0", -256.0), ("PMIC-Die", 100.0)]))


def test_the_total_is_the_input_rail_and_else_the_sum_of_those_that_feed_no_other() -> None:
    fed = Rail(name="VDDQ_VDD2_1V8AO", watts=0.5)  # from VIN_SYS_5V0
    some = [Rail(name="VDD_GPU_SOC", watts=2.0), Rail(name="VIN_SYS_5V0", watts=4.0), fed]
    assert watts.total(some) == 6.0
    assert watts.total([*some, Rail(name="VDD_IN", watts=5.0)]) == 5.0
    assert isnan(watts.total([]))


def test_an_energy_counter_that_began_anew_is_counted_through() -> None:
    assert watts.watts_between(1e6, 3e6, 1e9, 0.5) == 4.0
    assert watts.watts_between(1e9 - 1e6, 1e6, 1e9, 1.0) == 2.0
    assert isnan(watts.watts_between(5.0, 1.0, nan, 1.0))


def test_free_memory_is_what_is_available_less_the_reserve_and_never_below_zero() -> None:
    text = published.meminfo(8000, 100, 6000)
    assert memory.total_and_free(text, 1024 * 1000) == (1024 * 8000, 1024 * 5000)
    assert memory.total_and_free(text, 1e12)[1] == 0.0
    assert all(isnan(value) for value in memory.total_and_free("MemFree: 5 kB"))


PIECES = [
    "\nRAM 1/2MB",
    "CPU [",
    "5%@9999999999",
    "]",
    "@",
    "GR3D_FREQ 0%@[",
    ",",
    "C",
    "VDD_IN ",
    "1/",
    "mW",
    "GPU@",
    "-",
    "NV Power Mode:",
    "MemAvailable: ",
    " kB",
    "< POWER_MODEL ID=",
    " NAME=",
    ">\n",
    "# R36 (release), REVISION: ",
    ".",
    "throttled=0x",
    "pmode:",
    "cpu MHz : ",
    "model name : ",
    'PRETTY_NAME="',
    "\x1b[2J",
    "\x00",
    " ",
]
GARBAGE = st.one_of(
    st.text(max_size=400),
    st.lists(st.sampled_from([*PIECES, "9" * 5000, "\n", "\ud7ff"]), max_size=30).map("".join),
)


@given(GARBAGE)
def test_garbage_is_read_as_nothing_or_as_numbers_and_printable_words(text: str) -> None:
    stats = parse_tegrastats(text)
    for value in (stats.cpu_hertz, stats.gpu_hertz):
        assert isnan(value) or 0 <= value < 1e13
    assert isnan(stats.celsius) or -40 < stats.celsius < 150
    assert all(abs(rail.watts) < 1e5 and rail.name.isprintable() for rail in stats.rails)
    for word in (modes.parse_nvpmodel(text), identity.parse_nv_tegra_release(text), identity.parse_os_release(text)):
        assert word.isprintable()
        assert len(word) < 300
    assert all(name.isprintable() for name in modes.parse_nvpmodel_conf(text).values())
    assert thermal.parse_pi(text) in (True, False, None)
    assert -1 <= modes.parse_status(text) <= 9999
    assert isnan(clocks.parse_cpuinfo(text)) or clocks.parse_cpuinfo(text) >= 0
    assert all(isnan(value) or value >= 0 for value in memory.total_and_free(text))


@given(st.sampled_from(published.LINES), st.data())
def test_a_line_that_breaks_off_says_no_more_than_the_whole(line: published.Line, data: st.DataObject) -> None:
    whole = parse_tegrastats(line.text)
    part = parse_tegrastats(line.text[: data.draw(st.integers(0, len(line.text)))])
    assert len(part.rails) <= len(whole.rails)
    assert isnan(part.celsius) or part.celsius <= whole.celsius
