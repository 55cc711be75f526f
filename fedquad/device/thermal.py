"""Temperature, and whether heat or a weak supply holds the board's clocks back."""

import re
from collections.abc import Iterable
from math import nan
from pathlib import Path

from fedquad.device import files
from fedquad.device.commands import Run

COLDEST, WARMEST = -40.0, 150.0  # a sensor that is switched off says -256 on a Jetson
# A Jetson's PMIC zone is no measurement: 50 or 100 degrees, always.
NOT_MEASURED = "pmic"
PROCESSORS = ("coretemp", "k10temp", "cpu_thermal")  # hwmon's names, for a PC without thermal zones
# Cooling devices that cool by slowing down: a Jetson's alerts, CPU and GPU clocks, a PC's processor. Others are fans.
SLOWING = re.compile(r".*-alert|(?:thermal-)?(?:cpufreq|devfreq)-.*|Processor")
PI = re.compile(r"(?:throttled=)?(?:0x)?([0-9a-fA-F]{1,8})")
PI_SLOWED = 0b1110  # of the Pi's bits: clock capped, throttled, soft temperature limit; bit 0 is a low voltage


def read(root: Path) -> float:
    """The hottest zone's temperature in degrees Celsius."""
    zones = files.entries(root / "sys/class/thermal", "thermal_zone")
    found = hottest((files.text(zone / "type"), files.number(zone / "temp") / 1e3) for zone in zones)
    if found == found:
        return found
    chips = [c for c in files.entries(root / "sys/class/hwmon", "hwmon") if files.text(c / "name") in PROCESSORS]
    inputs = [path for chip in chips for path in files.entries(chip, "temp") if path.name.endswith("_input")]
    return hottest(("", files.number(path) / 1e3) for path in inputs)


def hottest(zones: Iterable[tuple[str, float]]) -> float:
    """The highest temperature among zones that measure one; nan if none does."""
    real = (c for name, c in zones if COLDEST < c < WARMEST and NOT_MEASURED not in name.lower())
    return max(real, default=nan)


def throttled(root: Path, run: Run, model: str) -> bool | None:
    """Whether clocks are held back now; None if nothing on the board says so."""
    said = [_is_slowing(device) for device in files.entries(root / "sys/class/thermal", "cooling_device")]
    if model.startswith("Raspberry Pi"):
        firmware = files.text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
        said.append(parse_pi(firmware or run("vcgencmd", "get_throttled", lines=1)))
    known = [one for one in said if one is not None]
    return any(known) if known else None


def _is_slowing(device: Path) -> bool | None:
    state = files.number(device / "cur_state")
    return state > 0 if state == state and SLOWING.fullmatch(files.text(device / "type")) else None


def parse_pi(text: str) -> bool | None:
    """What a Raspberry Pi's firmware says of now: `throttled=0x50005`, or the number alone."""
    found = PI.fullmatch(text.strip())
    return bool(int(found[1], 16) & PI_SLOWED) if found else None
