"""One line of tegrastats, as JetPack 4, 5 and 6 print it.

    RAM 3276/7859MB (lfb 5x4MB) SWAP 1626/12122MB (cached 181MB) CPU [44%@1421,49%@2031,off] EMC_FREQ 1%@1866 GR3D_FREQ 0%@114
    PMIC@50C GPU@39.5C VDD_SYS_GPU 182/182 VDD_IN 5297/5297

Clocks are in MHz, rails in mW, now and on average; JetPack 5 writes the unit, a clock for each part of the GPU
(`0%@[305,305]`) and `CV0@-256C` for a part that is off. Without root it leaves some clocks and rails out.
"""

import re
from dataclasses import dataclass
from math import nan

from fedquad.device.thermal import hottest
from fedquad.device.watts import Rail

CPU = re.compile(r"\bCPU \[([^\]]{0,4096})\](?:@([0-9]{1,6}))?", re.ASCII | re.IGNORECASE)
CORE = re.compile(r"%@([0-9]{1,6})", re.ASCII)
GPU = re.compile(r"\bGR3D(?:_FREQ)? [0-9]{1,3}%@\[?([0-9,]{1,64})", re.ASCII)
ZONE = re.compile(r"(?:^|\s)([A-Za-z][\w.-]{0,40})@(-?[0-9]{1,4}(?:\.[0-9]{1,6})?)C(?=\s|$)", re.ASCII)
RAIL = re.compile(r"(?:^|\s)([A-Z][A-Z0-9_]{0,40}) (-?[0-9]{1,7})(?:mW)?/-?[0-9]{1,7}(?:mW)?(?=\s|$)", re.ASCII)
NO_RAIL = ("NC", "RAM", "SWAP", "IRAM")  # not connected; memory, where the line breaks off before its unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What one line says; nan and empty where it does not."""

    cpu_hertz: float
    gpu_hertz: float
    celsius: float
    rails: tuple[Rail, ...]


def parse_tegrastats(line: str) -> Stats:
    """Read one line."""
    rails = tuple(Rail(name=name, watts=int(now) / 1e3) for name, now in RAIL.findall(line) if name not in NO_RAIL)
    return Stats(
        cpu_hertz=_cpu(line),
        gpu_hertz=_fastest(GPU.search(line)),
        celsius=hottest((name, float(celsius)) for name, celsius in ZONE.findall(line)),
        rails=rails,
    )


def _cpu(line: str) -> float:
    """The fastest core's clock; before JetPack 4.2 all cores shared one, behind the bracket."""
    found = CPU.search(line)
    if found is None:
        return nan
    clocks = [*CORE.findall(found[1]), *([found[2]] if found[2] else [])]
    return max((1e6 * int(clock) for clock in clocks), default=nan)


def _fastest(found: "re.Match[str] | None") -> float:
    clocks = [part for part in found[1].split(",") if part] if found else []
    return max((1e6 * int(clock) for clock in clocks if len(clock) <= 6), default=nan)
