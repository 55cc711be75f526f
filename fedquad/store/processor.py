"""The CPU that this machine computes on: its model, and whether bf16 would be faster on it."""

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
MULTIPLY_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the last as ARM names it
LEAST_WIDTH = 256  # of a layer, from which on a training step was faster in bf16 (benchmarks/half.py)


def processor() -> str:
    """The CPU's model, where Linux tells it."""
    names = _told(("model name", "Model", "Hardware"))
    return next(iter(names), "") or platform.processor() or "unknown processor"


def multiplies_bf16() -> bool:
    """Whether it has instructions for products of bf16."""
    return any(MULTIPLY_BF16 & set(flags.split()) for flags in _told(("flags", "Features"))[:1])


def bf16_pays(width: int) -> bool:
    """Whether a transformer of this width trains faster in bf16 here."""
    return multiplies_bf16() and width >= LEAST_WIDTH


def _told(keys: tuple[str, ...]) -> list[str]:
    """What /proc/cpuinfo says under any of these keys, in its order."""
    if not CPUINFO.exists():
        return []
    lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.partition(":")[2].strip() for line in lines if line.startswith(keys)]
