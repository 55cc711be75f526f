"""Power by rail, and of the whole board.

A Jetson measures its rails with INA3221 chips: JetPack 5 and later show millivolts and milliamperes through hwmon, JetPack 4
milliwatts through iio. A PC's processor counts microjoules (RAPL), where the system lets a user read them.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import fsum, isnan, nan
from pathlib import Path

from fedquad.device import files
from fedquad.errors import shown

# Rails that carry all the others: a Xavier NX's or Orin NX's input, a Nano's, a PC's.
WHOLE = ("VDD_IN", "POM_5V_IN", "psys")
# Fed from VIN_SYS_5V0 on an AGX Orin, so counted with it.
FED_FROM_ANOTHER = ("VDDQ_VDD2_1V8AO",)
CHANNELS = 3  # of an INA3221; hwmon's further ones are shunt voltages and sums
COUNTED = ("package-", "dram", "psys")  # of RAPL's domains; core and uncore are parts of a package
COUNTED_SECONDS = 0.1  # energy counters move every millisecond


@dataclass(frozen=True, slots=True, kw_only=True)
class Rail:
    """One supply and the power it carries now."""

    name: str
    watts: float


def read(root: Path) -> tuple[Rail, ...]:
    """Every rail that is measured."""
    return tuple(_hwmon(root)) or tuple(_iio(root)) or _counted(root)


def total(rails: Sequence[Rail]) -> float:
    """Power of the whole board: its input where that is measured, otherwise what its rails add up to."""
    by_name = {rail.name: rail.watts for rail in rails}
    for name in WHOLE:
        if name in by_name:
            return by_name[name]
    return fsum(rail.watts for rail in rails if rail.name not in FED_FROM_ANOTHER) if rails else nan


def _hwmon(root: Path) -> Iterator[Rail]:
    for chip in files.entries(root / "sys/class/hwmon", "hwmon"):
        if files.text(chip / "name") != "ina3221":
            continue
        for channel in range(1, CHANNELS + 1):
            millivolts, milliamperes = (files.number(chip / f"{kind}{channel}_input") for kind in ("in", "curr"))
            yield from _rail(files.text(chip / f"in{channel}_label"), millivolts * milliamperes / 1e6)


def _iio(root: Path) -> Iterator[Rail]:
    for address in files.entries(root / "sys/bus/i2c/drivers/ina3221x"):
        for chip in files.entries(address, "iio"):
            for channel in range(CHANNELS):
                milliwatts = files.number(chip / f"in_power{channel}_input")
                yield from _rail(files.text(chip / f"rail_name_{channel}"), milliwatts / 1e3)


def _rail(name: str, watts: float) -> Iterator[Rail]:
    if name and name != "NC" and not isnan(watts):  # NC: a channel that is not connected
        yield Rail(name=shown(name, 40), watts=watts)


def _counted(root: Path) -> tuple[Rail, ...]:
    domains = [
        (path, name)
        for path in files.entries(root / "sys/class/powercap", "intel-rapl:")
        if (name := files.text(path / "name")).startswith(COUNTED)
    ]
    before = [files.number(path / "energy_uj") for path, _ in domains]
    if all(isnan(energy) for energy in before):  # none there, or none for us: most systems keep them for root
        return ()
    began = time.monotonic()
    time.sleep(COUNTED_SECONDS)
    rails: list[Rail] = []
    for (path, name), energy in zip(domains, before):
        seconds, after = time.monotonic() - began, files.number(path / "energy_uj")
        watts = watts_between(energy, after, files.number(path / "max_energy_range_uj"), seconds)
        rails.extend(_rail(name, watts))
    return tuple(rails)


def watts_between(before_uj: float, after_uj: float, range_uj: float, seconds: float) -> float:
    """Mean power between two readings of an energy counter that begins anew at its range."""
    spent = after_uj - before_uj + (range_uj if after_uj < before_uj else 0.0)
    return spent / 1e6 / seconds if spent >= 0 else nan
