"""Adaptive Configuration Selection (Algorithm 1): each device's LoRA depth d and quantized layers a, a whole fleet at
once.

    feasible    m_f + m_o d - m_q a <= M_i, 0 <= a <= d-1              (Eq. 11, 15); of each d only the least a is kept
    t_i(d, a)   = T_i (c_f + c_d d + c_a a) / q_i                      (Eq. 7, 12, times the round's T_i steps)
    G(d)        = sum of g_l over the top d layers                     (Eq. 17)
    R(d, a)     = G(d) / (|t_i(d, a) - t_avg| + c), the greatest wins  (Eq. 18)

Algorithm 1 as printed never looks at theta: a device slower than t_avg then earns more the deeper it trains, and the
slowest devices hold up the round. The rule `default` therefore keeps Eq. 14 as well, candidate by candidate: t <=
t_avg + theta; a device whose candidates are all over it takes its fastest. `literal` is the algorithm as printed,
theta infinite. Ties: smaller a, then larger d. Before anything was measured (t_avg = 0) every device takes its
deepest (k, 0).

`deadline` takes Eq. 16 at its word: it sets the round's end T and everyone's configuration together, so that the
expected gain per second, sum of G over T, is greatest. It needs no t_avg.

The least a for depth d never falls as d grows, so that the paper's carried a_cur and the closed form below are the
same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fedquad.errors import SpecError, one_of
from fedquad.prices.cost import ROOFLINE_SHARE, Constants, CostModel
from fedquad.types import Bools, Floats, Ints, Statuses

Rule = Literal["default", "literal", "deadline"]
RULES: tuple[Rule, ...] = ("default", "literal", "deadline")
BLOCK = 1 << 15  # devices at a time: their columns stay in cache
FALLBACKS = ("", "fastest", "head", "skip")  # what `Choices.fallback` indexes
FASTEST, HEAD, SKIP = 1, 2, 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Devices:
    """What ACS knows of each device; seconds of a round are linear in (d, a)."""

    memory_bytes: Ints
    base_seconds: Floats
    depth_seconds: Floats  # of one more trained layer
    quantize_seconds: Floats  # of one more quantized layer

    def __len__(self) -> int:
        return len(self.memory_bytes)

    def part(self, chosen: slice | Ints) -> "Devices":
        return Devices(
            memory_bytes=self.memory_bytes[chosen],
            base_seconds=self.base_seconds[chosen],
            depth_seconds=self.depth_seconds[chosen],
            quantize_seconds=self.quantize_seconds[chosen],
        )

    def seconds(self, depth: int, quantized: Ints) -> Floats:
        return self.base_seconds + depth * self.depth_seconds + quantized * self.quantize_seconds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choices:
    """What each device is given, one row a device; depth 0 trains the head alone."""

    depth: npt.NDArray[np.int16]
    quantized: npt.NDArray[np.int16]
    seconds: Floats
    fallback: npt.NDArray[np.int8]  # index into FALLBACKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How ACS weighs what it knows."""

    rule: Rule = "default"
    theta: float = 0.5  # of Eq. 14, as a share of t_avg
    c: float = 1e-4  # seconds; with is_relative a share of t_avg
    is_relative: bool = False  # measure the gap to t_avg as a share of it

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise one_of("ACS rule (acs)", self.rule, RULES)
        for key, value in (("theta", self.theta), ("c", self.c)):
            if not value >= 0 or (key == "c" and value == 0):
                raise SpecError(f"ACS: {key} is {value!r}, but it is {'positive' if key == 'c' else 'not negative'}")


def settings(variant: str = "", *, acs: str = "default", **known: Any) -> Settings:
    """The settings of an arm `fedquad:VARIANT`, or of one with the parameter `acs`."""
    return Settings(rule=variant or acs, **known)  # type: ignore[arg-type]


def describe(cost: CostModel, statuses: Statuses, steps: Ints, rows: Ints | slice = slice(None)) -> Devices:
    """Put the statuses of `rows`, which take `steps`, into ACS's terms; communication is in, zero when it is free."""
    constants, size = cost.constants, cost.bytes
    speed, adapter = statuses.flops[rows], cost.rank * size.wire_per_rank
    up, down = statuses.upload_bandwidth[rows], statuses.download_bandwidth[rows]
    quantize = constants.c_a / speed
    if cost.quantization == "roofline":
        quantize = size.traffic / (ROOFLINE_SHARE * statuses.memory_bandwidth[rows])
    return Devices(
        memory_bytes=statuses.memory_bytes[rows],
        base_seconds=steps * constants.c_f / speed
        + cost.head_bytes / up
        + (cost.head_bytes + cost.layers * adapter) / down,
        depth_seconds=steps * constants.c_d / speed + adapter / up,
        quantize_seconds=steps * quantize,
    )


def decide(
    settings: Settings, devices: Devices, constants: Constants, gradient_norms: Floats, mean_seconds: float
) -> Choices:
    """Choose every device's configuration by the rule that `settings` names."""
    gain = gains(gradient_norms)
    if settings.rule == "deadline":
        return choose_deadline(devices, constants, gain)[1]
    if not mean_seconds:
        return choose_unquantized(devices, constants, len(gain))
    theta = np.inf if settings.rule == "literal" else settings.theta
    return choose(devices, constants, gain, mean_seconds, theta=theta, c=settings.c, is_relative=settings.is_relative)


def gains(gradient_norms: Floats) -> Floats:
    """G(1), ..., G(L): what each depth is expected to bring (Eq. 17)."""
    summed: Floats = np.cumsum(np.asarray(gradient_norms, dtype=np.float64)[::-1])
    return summed


def least_quantized(memory_bytes: Ints, constants: Constants, depth: int) -> Ints:
    """The least a with which depth d fits; one that is not below d means that d does not fit."""
    short = constants.m_f + constants.m_o * depth - memory_bytes
    if not constants.m_q:
        return np.where(short > 0, depth, 0)
    least: Ints = np.maximum(0, -(-short // constants.m_q))
    return least


def candidates(devices: Devices, constants: Constants, layers: int) -> Iterator[tuple[int, Ints, Bools, Floats]]:
    """Yield every depth with its least a, whom it fits, and how long it takes (Algorithm 1, steps 1 and 2)."""
    for depth in range(1, layers + 1):
        quantized = least_quantized(devices.memory_bytes, constants, depth)
        yield depth, quantized, quantized < depth, devices.seconds(depth, quantized)


def choose(
    devices: Devices,
    constants: Constants,
    gain: Floats,
    mean_seconds: float,
    *,
    theta: float = 0.5,
    c: float = 1e-4,
    is_relative: bool = False,
) -> Choices:
    """Give every device the candidate of greatest reward that ends by t_avg (1 + theta).

    `gain` is G(1..L). `is_relative` measures the gap to t_avg as a share of it, and `c` with it.
    """
    cap = mean_seconds * (1 + theta)
    scale = mean_seconds if is_relative else 1.0
    return _by_blocks(devices, lambda part: _choose(part, constants, gain, mean_seconds, cap, c, scale))


def _choose(
    devices: Devices, constants: Constants, gain: Floats, mean: float, cap: float, c: float, scale: float
) -> "_Best":
    best = _Best(len(devices))
    for depth, quantized, fits, seconds in candidates(devices, constants, len(gain)):
        reward = gain[depth - 1] / (np.abs(seconds - mean) / scale + c)
        best.take(depth, quantized, seconds, reward, fits & (seconds <= cap))
    late = np.flatnonzero(best.depth == 0)
    if len(late):
        best.put(late, _fastest(devices.part(late), constants, len(gain)))
    return best.or_head(devices, constants)


def _fastest(devices: Devices, constants: Constants, layers: int) -> "_Best":
    best = _Best(len(devices))
    for depth, quantized, fits, seconds in candidates(devices, constants, layers):
        best.take(depth, quantized, seconds, -seconds, fits)
    best.fallback[:] = FASTEST
    return best


def choose_unquantized(devices: Devices, constants: Constants, layers: int) -> Choices:
    """Give every device its deepest (k, 0): the first round, when there is neither t_avg nor g."""

    def deepest(part: Devices) -> _Best:
        best = _Best(len(part))
        for depth, quantized, fits, seconds in candidates(part, constants, layers):
            # With m_q >= m_o some device may only fit a quantized depth: it takes the one with the least a.
            score = np.asarray(depth - quantized * layers, dtype=np.float64)
            best.take(depth, quantized, seconds, score, fits)
        return best.or_head(part, constants)

    return _by_blocks(devices, deepest)


def choose_deepest(devices: Devices, constants: Constants, layers: int) -> Choices:
    """Give every device the deepest configuration that fits, with the least quantization that makes it fit."""

    def deepest(part: Devices) -> _Best:
        best = _Best(len(part))
        for depth, quantized, fits, seconds in candidates(part, constants, layers):
            best.take(depth, quantized, seconds, np.full(len(part), float(depth)), fits)
        return best.or_head(part, constants)

    return _by_blocks(devices, deepest)


def choose_deadline(devices: Devices, constants: Constants, gain: Floats) -> tuple[float, Choices]:
    """Choose the round's end T and every configuration together; return T too.

    For a given T each device does best with its greatest gain that ends by T, and the optimal T is some candidate's
    time: one pass over all candidates in order of time. No T below anyone's fastest candidate counts, because all
    devices are waited for. Every candidate is held at once (a million devices: 1.6 GB, 9 s).
    """
    times, steps, latest = [], [], 0.0
    reached, fastest = np.zeros(len(devices)), np.full(len(devices), np.inf)
    for depth, _, fits, seconds in candidates(devices, constants, len(gain)):
        times.append(seconds[fits])
        steps.append((gain[depth - 1] - reached)[fits])
        reached = np.where(fits, gain[depth - 1], reached)
        fastest = np.where(fits, np.minimum(fastest, seconds), fastest)
    latest = float(np.max(fastest[np.isfinite(fastest)], initial=0.0))
    end = _best_deadline(np.concatenate(times), np.concatenate(steps), latest)

    def by_then(part: Devices) -> _Best:
        best = _Best(len(part))
        for depth, quantized, fits, seconds in candidates(part, constants, len(gain)):
            best.take(depth, quantized, seconds, np.full(len(part), gain[depth - 1]), fits & (seconds <= end))
        return best.or_head(part, constants)

    return end, _by_blocks(devices, by_then)


def _best_deadline(times: Floats, steps: Floats, latest: float) -> float:
    if not len(times):
        return 0.0
    order = np.argsort(times, kind="stable")
    ends, total = times[order], np.cumsum(steps[order])
    last = np.append(ends[1:] > ends[:-1], True)  # of several candidates that end together, all are in
    rate = np.where(last & (ends >= latest), total / ends, -1.0)
    return float(ends[int(np.argmax(rate))])


class _Best:
    """The best candidate so far of each device, in place: a million devices leave no room for copies."""

    def __init__(self, size: int) -> None:
        self.score = np.full(size, -np.inf)
        self.depth = np.zeros(size, dtype=np.int16)
        self.quantized = np.zeros(size, dtype=np.int16)
        self.seconds = np.full(size, np.inf)
        self.fallback = np.zeros(size, dtype=np.int8)

    def take(self, depth: int, quantized: Ints, seconds: Floats, score: Floats, allowed: Bools) -> None:
        # Depths ascend and a never falls with d: on equal scores the newcomer wins only if it quantizes no more.
        better = allowed & ((score > self.score) | ((score == self.score) & (quantized == self.quantized)))
        np.copyto(self.score, score, where=better)
        np.copyto(self.depth, np.int16(depth), where=better)
        np.copyto(self.quantized, quantized, where=better, casting="same_kind")
        np.copyto(self.seconds, seconds, where=better)

    def put(self, rows: Ints, other: "_Best") -> None:
        for name in ("depth", "quantized", "seconds", "fallback"):
            getattr(self, name)[rows] = getattr(other, name)

    def or_head(self, devices: Devices, constants: Constants) -> "_Best":
        none = self.depth == 0
        self.fallback[none] = np.where(devices.memory_bytes[none] >= constants.m_f, HEAD, SKIP)
        self.seconds[none] = np.where(self.fallback[none] == HEAD, devices.base_seconds[none], 0.0)
        return self


def _by_blocks(devices: Devices, pick: Callable[[Devices], _Best]) -> Choices:
    parts = [pick(devices.part(slice(start, start + BLOCK))) for start in range(0, len(devices), BLOCK)] or [_Best(0)]
    return Choices(
        depth=np.concatenate([part.depth for part in parts]),
        quantized=np.concatenate([part.quantized for part in parts]),
        seconds=np.concatenate([part.seconds for part in parts]),
        fallback=np.concatenate([part.fallback for part in parts]),
    )
