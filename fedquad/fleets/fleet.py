"""A fleet on paper: who there is, and what each device can spare in a round. Pure drawing, arrays of one row a device.

Memory is drawn every round, the way the paper gives it: as the LoRA depth k that vanilla FedLoRA could train, uniform
in the class's range of fractions of the layers (L=24: weak 4-10, moderate 11-17, strong 18-24), then M = m_f + k m_o.
Power modes are drawn every `mode_rounds` rounds. Everything derives from (seed, round, purpose): the trace is the
same for every method.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from fedquad.errors import SpecError, one_of
from fedquad.fleets import boards as board_facts
from fedquad.fleets.boards import CLASSES, Board, PowerMode
from fedquad.fleets.replay import Replay
from fedquad.fleets.spreads import SPREADS, levels
from fedquad.fleets.trace import Trace
from fedquad.prices.cost import CostModel
from fedquad.rng import stream
from fedquad.spec import FleetSpec
from fedquad.types import Bools, Floats, Ints, Statuses

# Depths in 24ths of the layers (paper, section IV): 12 layers give 2-5, 6-8, 9-12.
DEPTHS = {"strong": (18, 24), "moderate": (11, 17), "weak": (4, 10)}
# Megabits per second, uniform per device and round. Assumed, but for wifi_testbed: what the same laboratory's testbeds
# of 80 Jetsons report.
BANDWIDTHS = {"3g": (1.0, 3.0), "4g": (5.0, 50.0), "wifi_testbed": (1.0, 30.0), "lan": (100.0, 1000.0)}
FREE_SHARE = (0.75, 1.0)  # of a board's free memory, when memory is the board's own; assumed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fleet:
    """A resolved fleet, fixed for a campaign."""

    spec: FleetSpec
    boards: tuple[Board, ...]
    modes: tuple[tuple[PowerMode, ...], ...]  # that take part, of each board
    board_of: npt.NDArray[np.int16]  # per device
    class_of: npt.NDArray[np.int16]  # index into boards.CLASSES
    trace: Trace | Replay | None = None  # of a trace, device i is row i modulo its length; of a replay, itself

    def __len__(self) -> int:
        return len(self.board_of)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fates:
    """What happens to the devices of a round, unknown to whoever plans it."""

    time_factor: Floats  # time really taken over predicted, mean 1
    dropped: Bools  # asked, but never answers
    seconds: Floats | None = None  # of a replay: what each took, NaN where it was not asked


def resolve(spec: FleetSpec, boards: Mapping[str, Board], trace: Trace | Replay | None = None) -> Fleet:
    """Look up boards and modes; `trace` is what `spec.trace` names, read."""
    if bool(spec.trace) != (trace is not None):
        raise SpecError(f"fleet.trace is {spec.trace!r}, but {'a' if trace else 'no'} trace was read")
    for name in [*spec.boards, *spec.modes]:
        if name not in boards:
            raise one_of("board (fleet.boards)", name, list(boards))
    for name in spec.modes:
        if name not in spec.boards:
            raise SpecError(
                f"fleet.modes.{name} is given, but fleet.boards has no {name!r}; it has: {', '.join(spec.boards)}"
            )
    used = tuple(boards[name] for name in spec.boards)
    counts = list(spec.boards.values())
    return Fleet(
        spec=spec,
        boards=used,
        modes=tuple(_modes(board, spec) for board in used),
        board_of=np.repeat(np.arange(len(used), dtype=np.int16), counts),
        class_of=np.repeat(np.array([CLASSES.index(board.device_class) for board in used], dtype=np.int16), counts),
        trace=trace,
    )


def _modes(board: Board, spec: FleetSpec) -> tuple[PowerMode, ...]:
    if spec.spread != "boards":
        if board.name in spec.modes:
            raise SpecError(
                f"fleet.modes.{board.name} is given, but fleet.spread {spec.spread!r} replaces the boards' own modes"
            )
        return levels(board, SPREADS[spec.spread])
    if board.name not in spec.modes:
        return tuple(mode for mode in board.modes if mode.usual)
    known = {mode.name: mode for mode in board.modes}
    for name in spec.modes[board.name]:
        if name not in known:
            raise one_of(f"mode (fleet.modes.{board.name})", name, list(known))
    if not spec.modes[board.name]:
        raise SpecError(
            f"fleet.modes.{board.name} is empty, but a device is always in a mode; there are: {', '.join(known)}"
        )
    return tuple(known[name] for name in spec.modes[board.name])


def depth_range(device_class: str, layers: int) -> tuple[int, int]:
    """The LoRA depths a class may be given, as fractions of the layers."""
    low, high = DEPTHS[device_class]
    least = max(1, -(-low * layers // 24))
    return least, max(least, high * layers // 24)


def draw(fleet: Fleet, cost: CostModel, seed: int, round: int) -> Statuses:
    """What each device has in round `round` (from 1); the same for every method."""
    spec, size = fleet.spec, len(fleet)
    block = (round - 1) // spec.mode_rounds
    counts = np.array([len(modes) for modes in fleet.modes])
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    mode_of = (stream(seed, "fleet", block, "mode").random(size) * counts[fleet.board_of]).astype(np.int16)
    row = first[fleet.board_of] + mode_of
    flat = [(board, mode) for board, modes in zip(fleet.boards, fleet.modes) for mode in modes]

    def column(value: list[float]) -> Floats:
        values: Floats = np.array(value, dtype=np.float64)[row]
        return values

    up, down = _bandwidth(fleet, seed, round)
    statuses = Statuses(
        classes=CLASSES,
        boards=tuple(board.name for board in fleet.boards),
        modes=tuple(tuple(mode.name for mode in modes) for modes in fleet.modes),
        class_of=fleet.class_of,
        board_of=fleet.board_of,
        mode_of=mode_of,
        available=_available(fleet, seed, round),
        memory_bytes=_memory(fleet, cost, seed, round),
        flops=column([board_facts.sustained_flops(board, mode, cost.precision) for board, mode in flat]),
        memory_bandwidth=column([board_facts.memory_bandwidth(board, mode) for board, mode in flat]),
        upload_bandwidth=up,
        download_bandwidth=down,
        training_watts=column([board_facts.training_watts(board, mode) for board, mode in flat]),
        idle_watts=column([board.idle_watts for board, _ in flat]),
        radio_watts=column([board.radio_watts for board, _ in flat]),
    )
    if isinstance(fleet.trace, Replay):
        return fleet.trace.recorded(statuses, round)
    return statuses if fleet.trace is None else _recorded(statuses, fleet.trace, cost, round)


def _recorded(statuses: Statuses, trace: Trace, cost: CostModel, round: int) -> Statuses:
    """Put a trace's speed, bandwidth, availability and memory in place of the drawn ones."""
    row = np.arange(len(statuses)) % len(trace)
    memory = trace.memory_bytes[row]
    per_example = cost.forward_flops / cost.batch
    return replace(
        statuses,
        flops=per_example * 1e3 / trace.milliseconds[row],
        upload_bandwidth=trace.bandwidth[row],
        download_bandwidth=trace.bandwidth[row],
        available=statuses.available & trace.is_available(round)[row],
        memory_bytes=np.where(memory > 0, memory, statuses.memory_bytes),
    )


def _memory(fleet: Fleet, cost: CostModel, seed: int, round: int) -> Ints:
    chance = stream(seed, "fleet", round, "memory").random(len(fleet))
    if fleet.spec.memory == "board":
        free = np.array([board_facts.free_bytes(board) for board in fleet.boards], dtype=np.float64)[fleet.board_of]
        low, high = FREE_SHARE
        return (free * (low + (high - low) * chance)).astype(np.int64)
    ranges = np.array([depth_range(name, cost.layers) for name in CLASSES])
    low_of, high_of = ranges[:, 0][fleet.class_of], ranges[:, 1][fleet.class_of]
    depth = low_of + (chance * (high_of - low_of + 1)).astype(np.int64)
    constants = cost.constants
    memory: Ints = constants.m_f + constants.m_o * depth
    return memory


def _bandwidth(fleet: Fleet, seed: int, round: int) -> tuple[Floats, Floats]:
    if fleet.spec.bandwidth == "none":
        free = np.full(len(fleet), np.inf)
        return free, free
    low, high = BANDWIDTHS[fleet.spec.bandwidth]
    generator = stream(seed, "fleet", round, "bandwidth")
    up, down = (generator.uniform(low, high, len(fleet)) * 1e6 / 8 for _ in range(2))
    return up, down


def _available(fleet: Fleet, seed: int, round: int) -> Bools:
    if fleet.spec.availability >= 1:
        return np.ones(len(fleet), dtype=np.bool_)
    return stream(seed, "fleet", round, "availability").random(len(fleet)) < fleet.spec.availability


def fates(fleet: Fleet, seed: int, attempt: int, round: int) -> Fates:
    """What chance does to the devices of a round: the same for every method, another at another attempt."""
    size, spec = len(fleet), fleet.spec
    if isinstance(fleet.trace, Replay):
        seconds, lost = fleet.trace.fates(size, round)
        return Fates(time_factor=np.ones(size), dropped=lost, seconds=seconds)
    dropped = stream(seed, attempt, round, "dropout").random(size) < spec.dropout
    if not spec.jitter:
        return Fates(time_factor=np.ones(size), dropped=dropped)
    # Lognormal: always positive, with mean 1 and the standard deviation asked for.
    sigma = np.sqrt(np.log1p(spec.jitter**2))
    normal = stream(seed, attempt, round, "jitter").standard_normal(size)
    return Fates(time_factor=np.exp(sigma * normal - sigma**2 / 2), dropped=dropped)


def digest(fleet: Fleet, cost: CostModel, seed: int, rounds: int) -> str:
    """SHA-256 of the statuses and fates of the first rounds: two arms with the same digest saw the same fleet."""
    state = hashlib.sha256()
    for round in range(1, rounds + 1):
        statuses, fate = draw(fleet, cost, seed, round), fates(fleet, seed, 0, round)
        for item in fields(Statuses):
            value = getattr(statuses, item.name)
            state.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
        state.update(fate.time_factor.tobytes() + fate.dropped.tobytes())
    return state.hexdigest()
