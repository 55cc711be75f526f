"""Power modes: which one holds, and which there are.

A Jetson's are nvpmodel's. `nvpmodel -q` prints the mode's name and, on a line of its own, its number (JetPack 6):

    NV Power Mode: MODE_30W
    2

Elsewhere a mode is the firmware's platform profile, or the governor of the CPU clock.
"""

import re
from pathlib import Path

from fedquad.device import files
from fedquad.device.commands import Run
from fedquad.errors import shown

ASKED = re.compile(r"NV Power Mode:[ \t]*(\S[^\r\n]*)")
DESCRIBED = re.compile(r"^[ \t]*<[ \t]*POWER_MODEL[ \t]+ID=([0-9]{1,4})[ \t]+NAME=([^\s>]+)", re.ASCII | re.MULTILINE)
KEPT = re.compile(r"pmode:([0-9]{1,4})", re.ASCII)
NAME_LENGTH = 60
MOST_MODES = 32
ELSEWHERE = (
    ("sys/firmware/acpi/platform_profile", "sys/firmware/acpi/platform_profile_choices"),
    (
        "sys/devices/system/cpu/cpufreq/policy0/scaling_governor",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_available_governors",
    ),
)


def read(root: Path, run: Run) -> tuple[str, tuple[str, ...]]:
    """The mode that holds and all modes; empty where they are not known."""
    described = parse_nvpmodel_conf(files.text(root / "etc/nvpmodel.conf"))
    mode = parse_nvpmodel(run("nvpmodel", "-q", lines=16))
    if not mode:  # in a container there is often the file without the tool
        mode = described.get(parse_status(files.text(root / "var/lib/nvpmodel/status")), "")
    if mode or described:
        return mode, tuple(described.values())
    for holding, choices in ELSEWHERE:
        if found := files.text(root / holding):
            names = files.text(root / choices).split()[:MOST_MODES]
            return shown(found, NAME_LENGTH), tuple(shown(name, NAME_LENGTH) for name in names)
    return "", ()


def parse_nvpmodel(text: str) -> str:
    """The mode that `nvpmodel -q` names, whatever it says of fans and warnings before."""
    found = ASKED.search(text)
    return shown(found[1].strip(), NAME_LENGTH) if found else ""


def parse_nvpmodel_conf(text: str) -> dict[int, str]:
    """Names by number, as /etc/nvpmodel.conf lists them: `< POWER_MODEL ID=2 NAME=MODE_30W >`."""
    named = {int(number): shown(name, NAME_LENGTH) for number, name in DESCRIBED.findall(text)}
    return dict(list(named.items())[:MOST_MODES])


def parse_status(text: str) -> int:
    """The number that nvpmodel keeps over a restart (`pmode:0002 fmode:quiet`); -1 if there is none."""
    found = KEPT.search(text)
    return int(found[1]) if found else -1
