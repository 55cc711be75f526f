"""Clocks of CPU and GPU: now, and the most that the power mode allows."""

import re
from collections.abc import Iterable
from math import isnan, nan
from pathlib import Path

from fedquad.device import files

# TX2, Xavier, Orin and Thor by their chips; a Nano and JetPack 6 say 17000000.gpu, JetPack 7 gpu-gpc-0
GPU = re.compile(r"gp10b|gv11b|ga10b|gb10b|(?:^|\.)gpu$|^gpu-gpc")
CPUINFO = re.compile(r"^cpu MHz[ \t]*:[ \t]*([0-9]{1,6}(?:\.[0-9]{1,6})?)[ \t]*$", re.ASCII | re.MULTILINE)


def cpu(root: Path) -> tuple[float, float]:
    """The fastest core's clock and cap in hertz."""
    policies = files.entries(root / "sys/devices/system/cpu/cpufreq", "policy")
    now, most = (
        _highest(1e3 * files.number(policy / name) for policy in policies)
        for name in ("scaling_cur_freq", "scaling_max_freq")
    )
    return (parse_cpuinfo(files.text(root / "proc/cpuinfo")) if isnan(now) else now), most


def gpu(root: Path) -> tuple[float, float]:
    """The integrated GPU's clock and cap in hertz; a GPU that sleeps has 0."""
    found = [path for path in files.entries(root / "sys/class/devfreq") if GPU.search(path.name)]
    now, most = (_highest(files.number(path / name) for path in found) for name in ("cur_freq", "max_freq"))
    return now, most


def parse_cpuinfo(text: str) -> float:
    """The fastest core's clock, as an x86's /proc/cpuinfo has it: `cpu MHz : 2100.000`."""
    return _highest(1e6 * float(megahertz) for megahertz in CPUINFO.findall(text))


def _highest(values: Iterable[float]) -> float:
    return max((value for value in values if value >= 0), default=nan)
