"""The CPU that this machine computes on."""

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """The CPU's model, where Linux tells it."""
    names = _told(("model name", "Model", "Hardware"))
    return next(iter(names), "") or platform.processor() or "unknown processor"


def _told(keys: tuple[str, ...]) -> list[str]:
    """What /proc/cpuinfo says under any of these keys, in its order."""
    if not CPUINFO.exists():
        return []
    lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.partition(":")[2].strip() for line in lines if line.startswith(keys)]
