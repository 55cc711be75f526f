"""Peak memory of a block: the GPU's allocator where there is one, else this process's resident memory."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(slots=True)
class Peak:
    bytes: int = 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Yield a record that holds the block's peak once the block has ended, also when it failed."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        _forget_high_water()
    try:
        yield peak
    finally:
        peak.bytes = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _high_water()


def _forget_high_water() -> None:
    try:
        Path("/proc/self/clear_refs").write_text(
            "5"
        )  # 5 resets VmHWM; otherwise it is the process's peak since its start
    except OSError:
        return


def _high_water() -> int:
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
