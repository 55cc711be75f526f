"""What the board is and what runs on it.

/etc/nv_tegra_release begins `# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: ...`.
"""

import re
from pathlib import Path

from fedquad.device import files
from fedquad.errors import shown

L4T = re.compile(r"#\s{0,8}R([0-9]{1,3}) \(release\), REVISION: ([0-9]{1,3}(?:\.[0-9]{1,3}){0,2})", re.ASCII)
JETPACK = {32: 4, 34: 5, 35: 5, 36: 6, 38: 7, 39: 7}  # by L4T's first number
PRETTY = re.compile(r"""^PRETTY_NAME=["']?([^"'\n]{1,100})["']?$""", re.MULTILINE)
PROCESSOR = re.compile(r"^model name[ \t]*:[ \t]*(\S.{0,100})$", re.MULTILINE)
LENGTH = 100


def model(root: Path) -> str:
    """The board's name: from the device tree, a PC's firmware, or its processor."""
    if found := files.text(root / "proc/device-tree/model"):
        return shown(found, LENGTH)
    product = [files.text(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name")]
    if all(product):
        return shown(" ".join(product), LENGTH)
    processor = PROCESSOR.search(files.text(root / "proc/cpuinfo"))
    return shown(processor[1], LENGTH) if processor else ""


def release(root: Path) -> str:
    """JetPack and L4T on a Jetson, the distribution elsewhere."""
    jetson = parse_nv_tegra_release(files.text(root / "etc/nv_tegra_release"))
    return jetson or parse_os_release(files.text(root / "etc/os-release"))


def kernel(root: Path) -> str:
    """The kernel's release."""
    return shown(files.text(root / "proc/sys/kernel/osrelease"), LENGTH)


def parse_nv_tegra_release(text: str) -> str:
    """JetPack's generation and L4T's version."""
    found = L4T.search(text)
    if found is None:
        return ""
    l4t = f"L4T {found[1]}.{found[2]}"
    jetpack = JETPACK.get(int(found[1]))
    return f"JetPack {jetpack} ({l4t})" if jetpack else l4t


def parse_os_release(text: str) -> str:
    """The distribution's own name for itself."""
    found = PRETTY.search(text)
    return shown(found[1], LENGTH) if found else ""
