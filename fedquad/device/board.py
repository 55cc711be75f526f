"""What a board says of itself, read at once from /proc and /sys and the tools it has."""

from dataclasses import dataclass
from pathlib import Path

from fedquad.device import files, memory
from fedquad.errors import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardReading:
    """One reading. What could not be read is nan or empty."""

    model: str
    kernel: str
    memory_total_bytes: float
    memory_free_bytes: float  # available less a reserve for the system


def read_board(root: Path = Path("/")) -> BoardReading:
    """Read the board whose files lie under `root`."""
    total, free = memory.total_and_free(files.text(root / "proc/meminfo"))
    return BoardReading(
        model=shown(files.text(root / "proc/device-tree/model")),
        kernel=shown(files.text(root / "proc/sys/kernel/osrelease")),
        memory_total_bytes=total,
        memory_free_bytes=free,
    )
