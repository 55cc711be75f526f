"""What a board says of itself: memory, power mode, clocks, power, temperature, read at once."""

from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

from fedquad.device import clocks, files, identity, memory, modes, thermal, watts
from fedquad.device.commands import Run, first_lines
from fedquad.device.tegrastats import Stats, parse_tegrastats
from fedquad.device.watts import Rail


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardReading:
    """One reading. What the board does not say is nan, empty or None, and named in `missing`."""

    model: str
    release: str  # JetPack and L4T, or the distribution
    kernel: str
    memory_total_bytes: float
    memory_free_bytes: float  # available less a reserve for the system
    mode: str
    modes: tuple[str, ...]
    cpu_hertz: float
    cpu_max_hertz: float  # what the mode allows
    gpu_hertz: float  # 0 while it sleeps
    gpu_max_hertz: float
    watts: float  # the whole board's, or its module's where only that is measured
    rails: tuple[Rail, ...]
    celsius: float  # of the hottest zone
    throttled: bool | None  # whether heat or a weak supply holds clocks back now
    missing: tuple[str, ...]


def read_board(
    root: Path = Path("/"), run: Run = first_lines, *, reserve_bytes: float = memory.RESERVE_BYTES
) -> BoardReading:
    """Read the board whose files lie under `root`, asking its tools through `run`; never fails."""
    model = identity.model(root)
    total, free = memory.total_and_free(files.text(root / "proc/meminfo"), reserve_bytes)
    mode, all_modes = modes.read(root, run)
    sensed = _sensed(root, run)
    cpu_max, gpu_max = clocks.cpu(root)[1], clocks.gpu(root)[1]
    found: dict[str, Any] = {
        "model": model,
        "release": identity.release(root),
        "kernel": identity.kernel(root),
        "memory_total_bytes": total,
        "memory_free_bytes": free,
        "mode": mode,
        "modes": all_modes,
        "cpu_hertz": sensed.cpu_hertz,
        "cpu_max_hertz": cpu_max,
        "gpu_hertz": sensed.gpu_hertz,
        "gpu_max_hertz": gpu_max,
        "watts": watts.total(sensed.rails),
        "rails": sensed.rails,
        "celsius": sensed.celsius,
        "throttled": thermal.throttled(root, run, model),
    }
    return BoardReading(**found, missing=tuple(name for name, value in found.items() if _is_missing(value)))


def _sensed(root: Path, run: Run) -> Stats:
    """Clocks, temperature and power from sysfs; a Jetson's tegrastats fills what sysfs leaves out, at 0.1 s."""
    read = Stats(
        cpu_hertz=clocks.cpu(root)[0],
        gpu_hertz=clocks.gpu(root)[0],
        celsius=thermal.read(root),
        rails=watts.read(root),
    )
    if not any(_is_missing(getattr(read, name)) for name in Stats.__dataclass_fields__):
        return read
    said = parse_tegrastats(run("tegrastats", "--interval", "100", lines=1))
    both = {name: (getattr(read, name), getattr(said, name)) for name in Stats.__dataclass_fields__}
    return Stats(**{name: other if _is_missing(one) else one for name, (one, other) in both.items()})


def _is_missing(value: Any) -> bool:
    return isnan(value) if isinstance(value, float) else value is None or value in ("", ())
