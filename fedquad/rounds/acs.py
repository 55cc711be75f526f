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

`paced` leaves the balance to the steps (paced.py): each device takes what brings most a second, G(d)^power / t_i(d, a), of what it can
take its fewest steps of until the others end. If nothing is so quick, it takes its fastest.

The least a for depth d never falls as d grows, so that the paper's carried a_cur and the closed form below are the
same.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fedquad.errors import SpecError, one_of
from fedquad.prices.cost import ROOFLINE_SHARE, Constants, CostModel
from fedquad.types import Bools, Floats, Ints, Statuses

Rule = Literal["default", "literal", "deadline", "paced"]
RULES: tuple[Rule, ...] = ("default", "literal", "deadline", "paced")
BLOCK = 1 << 15  # devices at a time: their columns stay in cache
FALLBACKS = ("", "fastest", "head", "skip")  # what `Choices.fallback` indexes
FASTEST, HEAD, SKIP = 1, 2, 3
Score = Callable[[int, Ints, Floats], Floats]  # of a depth, its least a and its seconds; minus infinity: never


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outlook:
    """What each device may expect of frozen prefixes that are paid once (prefix.py): of which share of its examples, on the mean."""

    layers: int
    fixed: int  # a depth cap below which no prefix reaches further up; 0: a prefix ends where the device's depth begins
    depth: Ints  # whose prefix it keeps now; 0: none
    held: Floats  # at that depth
    fresh: Floats  # at any other
    layer_seconds: Floats  # of one layer's forward, which is spared

    def part(self, chosen: slice | Ints) -> "Outlook":
        per_device = ("depth", "held", "fresh", "layer_seconds")
        return replace(self, **{name: getattr(self, name)[chosen] for name in per_device})

    def spared_seconds(self, depth: int) -> Floats:
        """What a prefix spares at this depth, on the mean."""
        end = self.fixed or depth
        share = np.where(self.depth == end, self.held, self.fresh)
        return (self.layers - end) * self.layer_seconds * share


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Devices:
    """What ACS knows of each device; seconds of a round are linear in (d, a)."""

    memory_bytes: Ints
    base_seconds: Floats
    depth_seconds: Floats  # of one more trained layer
    quantize_seconds: Floats  # of one more quantized layer
    head_seconds: Floats  # with the head alone trained: nothing goes back through the layers
    outlook: Outlook | None = None
    steps: Ints | None = None  # that these seconds are of; none: equally many of each

    def __len__(self) -> int:
        return len(self.memory_bytes)

    def part(self, chosen: slice | Ints) -> "Devices":
        return Devices(
            memory_bytes=self.memory_bytes[chosen],
            base_seconds=self.base_seconds[chosen],
            depth_seconds=self.depth_seconds[chosen],
            quantize_seconds=self.quantize_seconds[chosen],
            head_seconds=self.head_seconds[chosen],
            outlook=self.outlook and self.outlook.part(chosen),
            steps=None if self.steps is None else self.steps[chosen],
        )

    def seconds(self, depth: int, quantized: Ints) -> Floats:
        seconds = self.base_seconds + depth * self.depth_seconds + quantized * self.quantize_seconds
        return seconds - self.outlook.spared_seconds(depth) if self.outlook else seconds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choices:
    """What each device is given, one row a device; depth 0 trains the head alone."""

    depth: npt.NDArray[np.int16]
    quantized: npt.NDArray[np.int16]
    seconds: Floats
    fallback: npt.NDArray[np.int8]  # index into FALLBACKS

    @classmethod
    def nothing(cls, size: int) -> "Choices":
        return cls(
            depth=np.zeros(size, dtype=np.int16),
            quantized=np.zeros(size, dtype=np.int16),
            seconds=np.zeros(size),
            fallback=np.zeros(size, dtype=np.int8),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How ACS weighs what it knows."""

    rule: Rule = "default"
    theta: float = 0.5  # of Eq. 14, as a share of t_avg
    c: float = 1e-4  # seconds; with is_relative a share of t_avg
    is_relative: bool = False  # measure the gap to t_avg as a share of it
    power: float = 1.0  # of `paced`: how much of a greater G a round really gains
    least: float = 0.0  # of `paced`: the share of its steps that a device takes at least (training.least_steps)

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise one_of("ACS rule (acs)", self.rule, RULES)
        for key, value in (("theta", self.theta), ("c", self.c), ("power", self.power)):
            if not value >= 0 or (key == "c" and value == 0):
                raise SpecError(f"ACS: {key} is {value!r}, but it is {'positive' if key == 'c' else 'not negative'}")


def settings(variant: str = "", *, acs: str = "default", **known: Any) -> Settings:
    """The settings of an arm `fedquad:VARIANT`, or of one with the parameter `acs`."""
    return Settings(rule=variant or acs, **known)  # type: ignore[arg-type]


def describe(
    cost: CostModel,
    statuses: Statuses,
    steps: Ints,
    rows: Ints | slice = slice(None),
    outlook: Outlook | None = None,
) -> Devices:
    """Put the statuses of `rows`, which take `steps`, into ACS's terms; communication is in, zero when it is free."""
    constants, size = cost.constants, cost.bytes
    speed, adapter = statuses.flops[rows], cost.wire_bytes
    up, down = statuses.upload_bandwidth[rows], statuses.download_bandwidth[rows]
    quantize = constants.c_a / speed
    if cost.quantization == "roofline":
        quantize = size.traffic / (ROOFLINE_SHARE * statuses.memory_bandwidth[rows])
    sent = cost.head_bytes / up + (cost.head_bytes + cost.layers * adapter) / down
    return Devices(
        memory_bytes=statuses.memory_bytes[rows],
        base_seconds=steps * constants.c_f / speed + sent,
        depth_seconds=steps * constants.c_d / speed + adapter / up,
        quantize_seconds=steps * quantize,
        head_seconds=steps * (cost.forward_flops + cost.head_gradient) / speed + sent,
        outlook=outlook,
        steps=steps,
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
    if settings.rule == "paced":
        return choose_fastest_gain(devices, constants, gain**settings.power, settings.least)
    return choose(settings, devices, constants, gain, mean_seconds)


def gains(gradient_norms: Floats) -> Floats:
    """G(1), ..., G(L): what each depth is expected to bring (Eq. 17).

    A layer that nobody has measured yet (NaN) counts as the nearest measured one above it, the lowest of those that are
    trained; before anything was measured all count alike.
    """
    from_the_top = np.asarray(gradient_norms, dtype=np.float64)[::-1]
    measured = np.flatnonzero(np.isfinite(from_the_top))
    if not len(measured):
        return np.arange(1.0, len(from_the_top) + 1)
    nearest = measured[np.maximum(np.searchsorted(measured, np.arange(len(from_the_top)), side="right") - 1, 0)]
    summed: Floats = np.cumsum(from_the_top[nearest])
    return summed


def cap(settings: Settings, mean_seconds: float) -> float:
    """The latest end that a candidate may have (Eq. 14)."""
    return np.inf if settings.rule == "literal" else mean_seconds * (1 + settings.theta)


def reward(settings: Settings, gain: float, seconds: Floats, mean_seconds: float) -> Floats:
    """R of one depth at these seconds (Eq. 18)."""
    scale = mean_seconds if settings.is_relative else 1.0
    return gain / (np.abs(seconds - mean_seconds) / scale + settings.c)


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


def choose(settings: Settings, devices: Devices, constants: Constants, gain: Floats, mean_seconds: float) -> Choices:
    """Give every device the candidate of greatest reward that ends in time, or its fastest; `gain` is G(1..L)."""
    latest = cap(settings, mean_seconds)

    def rewarded(depth: int, _: Ints, seconds: Floats) -> Floats:
        return np.where(seconds <= latest, reward(settings, gain[depth - 1], seconds, mean_seconds), -np.inf)

    return pick(devices, constants, len(gain), rewarded, fastest)


def choose_unquantized(devices: Devices, constants: Constants, layers: int) -> Choices:
    """Give every device its deepest (k, 0): the first round, when there is neither t_avg nor g."""

    def unquantized(depth: int, quantized: Ints, _: Floats) -> Floats:
        # With m_q >= m_o some device may only fit a quantized depth: it takes the one with the least a.
        return np.asarray(depth - layers * quantized, dtype=np.float64)

    return pick(devices, constants, layers, unquantized)


def choose_fastest_gain(devices: Devices, constants: Constants, gain: Floats, least: float = 0.0) -> Choices:
    """Give every device the candidate with the greatest gain a second.

    Whoever would end late even with its fewest steps, `least` of them, has one with which it does not, or its fastest.
    """

    def a_second(depth: int, _: Ints, seconds: Floats) -> Floats:
        return np.asarray(gain[depth - 1] / np.maximum(seconds, 1e-30), dtype=np.float64)

    chosen = pick(devices, constants, len(gain), a_second)
    end = shared_end(devices, chosen)

    def in_time(depth: int, quantized: Ints, seconds: Floats) -> Floats:
        return np.where(least * seconds <= end, a_second(depth, quantized, seconds), -np.inf)

    if len(late := np.flatnonzero(least * chosen.seconds > end)):
        other = pick(devices.part(late), constants, len(gain), in_time, fastest)
        for name in Choices.__slots__:
            getattr(chosen, name)[late] = getattr(other, name)
    return chosen


def shared_end(devices: Devices, choices: Choices) -> float:
    """When a round ends in which all steps are dealt out so that everybody ends at once, whatever the fewest and the most are."""
    steps = np.ones(len(devices)) if devices.steps is None else devices.steps
    works = choices.seconds > 0
    return float(np.sum(steps[works]) / np.sum(steps[works] / choices.seconds[works])) if works.any() else 0.0


def fastest(_: int, __: Ints, seconds: Floats) -> Floats:
    """The score by which the quickest candidate is the greatest."""
    return -seconds


def choose_deepest(devices: Devices, constants: Constants, layers: int) -> Choices:
    """Give every device the deepest configuration that fits, with the least quantization that makes it fit."""
    return pick(devices, constants, layers, lambda depth, quantized, _: np.full(len(quantized), float(depth)))


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

    def by_then(depth: int, _: Ints, seconds: Floats) -> Floats:
        return np.where(seconds <= end, gain[depth - 1], -np.inf)

    return end, pick(devices, constants, len(gain), by_then)


def _best_deadline(times: Floats, steps: Floats, latest: float) -> float:
    if not len(times):
        return 0.0
    order = np.argsort(times, kind="stable")
    ends, total = times[order], np.cumsum(steps[order])
    last = np.append(ends[1:] > ends[:-1], True)  # of several candidates that end together, all are in
    rate = np.where(last & (ends >= latest), total / ends, -1.0)
    return float(ends[int(np.argmax(rate))])


def pick(devices: Devices, constants: Constants, layers: int, *scores: Score) -> Choices:
    """Give every device the candidate of greatest score; whom the first score gives none is chosen by the next one.

    A device without any candidate trains the head alone where the model fits, and is left out where it does not.
    """
    starts = range(0, max(len(devices), 1), BLOCK)
    parts = [_pick(devices.part(slice(start, start + BLOCK)), constants, layers, scores) for start in starts]
    return Choices(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Choices.__slots__})


def _pick(devices: Devices, constants: Constants, layers: int, scores: Sequence[Score]) -> Choices:
    chosen = _greatest(devices, constants, layers, scores[0])
    for score in scores[1:]:
        late = np.flatnonzero(chosen.depth == 0)
        other = _greatest(devices.part(late), constants, layers, score)
        for name in ("depth", "quantized", "seconds"):
            getattr(chosen, name)[late] = getattr(other, name)
        chosen.fallback[late] = FASTEST
    none = chosen.depth == 0
    chosen.fallback[none] = np.where(devices.memory_bytes[none] >= constants.m_f, HEAD, SKIP)
    chosen.seconds[none] = np.where(chosen.fallback[none] == HEAD, devices.head_seconds[none], 0.0)
    return chosen


def _greatest(devices: Devices, constants: Constants, layers: int, score: Score) -> Choices:
    """The candidate of greatest score of each device, in place: a million devices leave no room for copies."""
    size = len(devices)
    best, top = Choices.nothing(size), np.full(size, -np.inf)
    for depth, quantized, fits, seconds in candidates(devices, constants, layers):
        found = score(depth, quantized, seconds)
        # Depths ascend and a never falls with d: on equal scores the newcomer wins only if it quantizes no more.
        better = fits & ((found > top) | ((found == top) & (found > -np.inf) & (quantized == best.quantized)))
        np.copyto(top, found, where=better)
        np.copyto(best.depth, np.int16(depth), where=better)
        np.copyto(best.quantized, quantized, where=better, casting="same_kind")
        np.copyto(best.seconds, seconds, where=better)
    return best
