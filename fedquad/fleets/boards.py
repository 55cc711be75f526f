"""A board as its data sheet and its nvpmodel file know it; peaks are derived here, never stored.

    peak [FLOP/s]       = units * lanes * 2 * clock                 (one FMA is two operations)
    bandwidth [bytes/s] = 2 * memory clock * bus bits / 8           (double data rate)
    sustained [FLOP/s]  = sustained share * peak                    (training, not a lone matmul)

A unit is a streaming multiprocessor, a GPU core or a CPU core; its lanes are the FMAs it starts per cycle. TX2 at
1.3005 GHz: 2 * 128 * 2 * 1.3005e9 = 0.666 TFLOP/s in fp32, twice that in fp16: the 1.33 TFLOPS of the paper's Table
I.

A board is one file in `fedquad/fleets/devices/`, found by its name. Clocks and cores are facts; the shares, the reserve and
the watts are assumptions to edit: `sources` says of every number where it is from, or the word "assumed".
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from fedquad.errors import SpecError, one_of

DeviceClass = Literal["strong", "moderate", "weak"]
Precision = Literal["fp32", "fp16", "tf32", "bf16"]
CLASSES: tuple[DeviceClass, ...] = ("strong", "moderate", "weak")
GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerMode:
    """One power mode: what nvpmodel sets, or the only state of a board without modes."""

    name: str
    id: int | None = None  # nvpmodel's; empty where there is none
    cpu_cores: int
    cpu_mhz: float
    units: int  # multiprocessors that stay on
    clock_mhz: float
    memory_mhz: float
    watts: float | None = None  # the cap's name, not a measurement; empty: uncapped
    needs_reboot: bool = False
    usual: bool = True  # takes part unless a fleet says which modes do
    source: str = ""  # where this mode differs from the board's


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One kind of device with its power modes."""

    name: str
    title: str
    device_class: DeviceClass
    arch: str
    lanes: int  # fp32 FMAs a unit starts per cycle
    half_lanes: int  # fp16 FMAs: tensor cores where there are any
    has_bf16: bool = False  # bf16 and tf32 at tensor-core speed: sm_80 and later
    bus_bits: int
    ram_gib: float
    reserve_gib: float  # system, CUDA context, what runs beside the training
    sustained: float  # share of the fp32 peak that training reaches
    half_sustained: float  # share of the fp16 peak
    idle_watts: float
    uncapped_watts: float  # taken as the cap of modes without one
    power_share: float  # of a mode's cap that training draws
    radio_watts: float  # on top, while it sends or receives
    modes: tuple[PowerMode, ...]
    sources: Mapping[str, str]  # field -> where its number is from, or "assumed"

    def __post_init__(self) -> None:
        where = f"fedquad/fleets/devices/{self.name.replace('-', '_')}.py"
        _check_sources(self, where)
        if self.device_class not in CLASSES:
            raise one_of(f"device class (in {where}, device_class)", self.device_class, CLASSES)
        for name in ("lanes", "half_lanes", "bus_bits", "ram_gib", "sustained", "uncapped_watts"):
            if not getattr(self, name) > 0:
                raise SpecError(f"{where}: {name} is {getattr(self, name)!r}, but it is positive on any board")
        if not self.modes or len({mode.name for mode in self.modes}) != len(self.modes):
            raise SpecError(
                f"{where}: modes are {[mode.name for mode in self.modes]!r}, but a board has some, with distinct names"
            )
        if not 0 <= self.reserve_gib < self.ram_gib:
            raise SpecError(
                f"{where}: reserve_gib is {self.reserve_gib!r}, but it lies in [0, ram_gib = {self.ram_gib})"
            )

    def mode(self, name: str) -> PowerMode:
        found = {mode.name: mode for mode in self.modes}.get(name)
        if found is None:
            raise one_of(f"mode of {self.name}", name, [mode.name for mode in self.modes])
        return found


def _check_sources(board: Board, where: str) -> None:
    numbers = [item.name for item in fields(Board) if item.type in (int, float)] + ["has_bf16", "device_class", "modes"]
    missing = [name for name in numbers if not board.sources.get(name, "").strip()]
    if missing:
        raise SpecError(f"{where}: sources lacks {', '.join(missing)}; say where each number is from, or 'assumed'")


def peak_flops(board: Board, mode: PowerMode, precision: Precision = "fp32") -> float:
    """Peak FLOP/s; a precision that the board has no units for runs at its fp32 rate."""
    lanes = float(board.lanes)
    if precision == "fp16" or (precision == "bf16" and board.has_bf16):
        lanes = board.half_lanes
    elif precision == "tf32" and board.has_bf16:
        lanes = max(board.lanes, board.half_lanes / 2)  # half the dense fp16 rate on Ampere
    return mode.units * lanes * 2 * mode.clock_mhz * 1e6


def sustained_flops(board: Board, mode: PowerMode, precision: Precision = "fp32") -> float:
    """FLOP/s that training reaches."""
    fp32 = board.sustained * peak_flops(board, mode)
    if precision == "fp32" or not board.has_bf16:
        return fp32
    # Tensor cores are fed by the same memory: they never make training slower than the plain units.
    return max(fp32, board.half_sustained * peak_flops(board, mode, precision))


def memory_bandwidth(board: Board, mode: PowerMode) -> float:
    """Bytes per second."""
    return 2 * mode.memory_mhz * 1e6 * board.bus_bits / 8


def training_watts(board: Board, mode: PowerMode) -> float:
    """Draw while training: a share of the mode's cap (Orin NX: 16.9 of 25 W, 27.6 of 40 W), never below idle."""
    cap = board.uncapped_watts if mode.watts is None else mode.watts
    return max(board.idle_watts, board.power_share * cap)


def free_bytes(board: Board) -> int:
    """Memory left for training when nothing unusual runs beside it."""
    return int((board.ram_gib - board.reserve_gib) * GIB)
