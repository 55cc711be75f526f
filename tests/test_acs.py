"""ACS against the algorithm written straight from the paper, and what its mathematics promises."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedquad.errors import SpecError
from fedquad.prices.cost import Constants
from fedquad.rounds import acs
from fedquad.rounds.acs import FALLBACKS, Choices, Devices, Settings
from fedquad.types import Floats

MB = 10**6
LARGE = Constants(c_f=2.5e12, c_d=0.108e12, c_a=0.081e12, m_f=1500 * MB, m_o=277 * MB, m_q=161 * MB)


def oracle(
    memory: int, speed: float, mean: float, norms: list[float], k: Constants, theta: float, c: float
) -> tuple[int, int, str]:
    """Algorithm 1 for one device, line by line, with Eq. 14 as a cap on each candidate.

    Seconds are added up in the product's order: a candidate that ends exactly at the cap is in or out by its last bit.
    """
    layers = len(norms)
    candidates = []
    a_cur = 0
    for d in range(1, layers + 1):
        for a in range(a_cur, d):  # a in [a_cur, d - 1]
            if k.m_f + k.m_o * d - k.m_q * a <= memory:
                candidates.append((d, a))
                a_cur = a
                break
    timed = [(d, a, k.c_f / speed + d * (k.c_d / speed) + a * (k.c_a / speed)) for d, a in candidates]
    if not timed:
        return 0, 0, "head" if k.m_f <= memory else "skip"
    in_time = [(d, a, t) for d, a, t in timed if t <= mean * (1 + theta)]
    if not in_time:
        d, a, _ = min(timed, key=lambda one: (one[2], one[1], -one[0]))
        return d, a, "fastest"

    def reward(d: int, t: float) -> float:
        gain = 0.0
        for layer in range(layers - 1, layers - d - 1, -1):
            gain += norms[layer]
        return gain / (abs(t - mean) + c)

    d, a, _ = max(in_time, key=lambda one: (reward(one[0], one[2]), -one[1], one[0]))
    return d, a, ""


def devices(memory: list[int], speed: list[float], k: Constants = LARGE) -> Devices:
    speeds = np.array(speed)
    return Devices(
        memory_bytes=np.array(memory, dtype=np.int64),
        base_seconds=k.c_f / speeds,
        depth_seconds=k.c_d / speeds,
        quantize_seconds=k.c_a / speeds,
        head_seconds=0.9 * k.c_f / speeds,
    )


def rows(choices: Choices) -> list[tuple[int, int, str]]:
    return [(int(d), int(a), FALLBACKS[f]) for d, a, f in zip(choices.depth, choices.quantized, choices.fallback)]


def footprint(k: Constants, depth: int, quantized: int) -> int:
    return k.m_f + k.m_o * depth - k.m_q * quantized


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    k: Constants
    norms: list[float]
    memory: list[int]
    speed: list[float]
    mean: float

    @property
    def fleet(self) -> Devices:
        return devices(self.memory, self.speed, self.k)

    def options(self) -> list[list[tuple[int, int, float]]]:
        """Every device's candidates: depth, least a, seconds."""
        found: list[list[tuple[int, int, float]]] = [[] for _ in self.memory]
        for d, a, fits, t in acs.candidates(self.fleet, self.k, len(self.norms)):
            for device in np.flatnonzero(fits):
                found[device].append((d, int(a[device]), float(t[device])))
        return found


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Memory in tenths of m_o above m_f, speeds and mean so that the candidates lie on both sides of t_avg and of the cap.

    Whole numbers, because Hypothesis draws those of a range evenly, and floats mostly at its ends.
    """

    def tenths(least: int, most: int) -> st.SearchStrategy[float]:
        return st.integers(least, most).map(lambda value: value / 10)

    m_o = draw(st.integers(50, 400)) * MB
    # Usually a saving like the paper's; none, and more than a layer keeps, happen too.
    m_q = int(m_o * draw(st.sampled_from([0.58, 0.76, 0.3, 0.0, 1.3])))
    c_f = draw(tenths(10, 50)) * 1e12
    c_d, c_a = draw(st.integers(2, 30)) / 100 * c_f, draw(st.integers(0, 10)) / 100 * c_f
    k = Constants(c_f=c_f, c_d=c_d, c_a=c_a, m_f=m_o, m_o=m_o, m_q=m_q)
    layers, count = draw(st.integers(3, 16)), draw(st.integers(2, 5))
    norms = draw(st.lists(tenths(1, 100), min_size=layers, max_size=layers))
    units = draw(st.lists(tenths(-2, 10 * layers + 10), min_size=count, max_size=count))
    speed = draw(st.lists(tenths(2, 20).map(lambda value: value * 1e12), min_size=count, max_size=count))
    usual = (c_f + c_d * layers / 2) / draw(st.sampled_from(speed))
    memory = [int(k.m_f + k.m_o * unit) for unit in units]
    return Problem(k=k, norms=norms, memory=memory, speed=speed, mean=draw(tenths(6, 15)) * usual)


class Premise:
    """In how many of a property's examples its premise held: a property of examples without candidates says nothing."""

    def __init__(self) -> None:
        self.held = self.seen = 0

    def note(self, holds: bool) -> None:
        self.seen += 1
        self.held += holds

    def check(self) -> None:
        assert self.held >= self.seen / 2 > 0, f"the premise held in {self.held} of {self.seen} examples"


def test_the_vectorised_algorithm_is_the_papers() -> None:
    several, by_reward, quantized = Premise(), Premise(), Premise()

    @settings(max_examples=400)
    @given(problems(), st.sampled_from([0.0, 0.2, 0.5, np.inf]), st.sampled_from([1e-4, 1.0]))
    def holds(problem: Problem, theta: float, c: float) -> None:
        gain = acs.gains(np.array(problem.norms))
        chosen = acs.choose(Settings(theta=theta, c=c), problem.fleet, problem.k, gain, problem.mean)
        expected = [
            oracle(m, q, problem.mean, problem.norms, problem.k, theta, c)
            for m, q in zip(problem.memory, problem.speed)
        ]
        assert rows(chosen) == expected
        several.note(any(len(one) > 1 for one in problem.options()))
        by_reward.note(any(d and not why for d, _, why in expected))
        quantized.note(any(a for one in problem.options() for _, a, _ in one))

    holds()
    for premise in (several, by_reward, quantized):
        premise.check()


@settings(max_examples=150)
@given(problems(), st.sampled_from(acs.RULES))
def test_no_device_ever_gets_more_than_its_memory_and_a_is_minimal(problem: Problem, rule: acs.Rule) -> None:
    k, norms = problem.k, np.array(problem.norms)
    for m, (depth, quantized, fallback) in zip(
        problem.memory, rows(acs.decide(Settings(rule=rule), problem.fleet, k, norms, problem.mean))
    ):
        if fallback == "skip":
            assert m < k.m_f
            continue
        assert footprint(k, depth, quantized) <= m
        assert not any(footprint(k, depth, a) <= m for a in range(quantized))


@settings(max_examples=100)
@given(problems())
def test_more_memory_never_shrinks_the_feasible_set(problem: Problem) -> None:
    k, layers = problem.k, len(problem.norms)
    richer = devices([m + MB for m in problem.memory], problem.speed, k)
    few = [fits for _, _, fits, _ in acs.candidates(problem.fleet, k, layers)]
    more = [fits for _, _, fits, _ in acs.candidates(richer, k, layers)]
    assert all((a <= b).all() for a, b in zip(few, more))


@settings(max_examples=100)
@given(problems(), st.sampled_from(acs.RULES))
def test_a_device_alone_is_never_starved(problem: Problem, rule: acs.Rule) -> None:
    k = problem.k
    alone = devices([k.m_f + k.m_o + max(problem.memory[0], 0)], problem.speed[:1], k)
    for t_avg in (0.0, problem.mean):
        assert acs.decide(Settings(rule=rule), alone, k, np.array(problem.norms), t_avg).depth[0] >= 1


def test_paced_waits_for_nobody_who_has_something_quicker() -> None:
    """What brings most a second, as long as the fewest steps of it end with the others; else what does, or the fastest."""
    seen = set()

    @settings(max_examples=200)
    @given(problems(), st.sampled_from((0.1, 0.25, 1.0)))
    def holds(problem: Problem, least: float) -> None:
        fleet, k, gain = problem.fleet, problem.k, acs.gains(np.array(problem.norms))
        free = acs.choose_fastest_gain(fleet, k, gain)
        bound = acs.choose_fastest_gain(fleet, k, gain, least)
        end = acs.shared_end(fleet, free)
        for at, (before, now) in enumerate(zip(rows(free), rows(bound))):
            seconds = [float(t[at]) for _, _, fits, t in acs.candidates(fleet, k, len(gain)) if fits[at]]
            if not seconds:
                assert now == before
            elif now[2] == "fastest":
                seen.add("fastest")
                assert bound.seconds[at] == min(seconds)
                assert least * min(seconds) > end
            else:
                is_late = bool(least * free.seconds[at] > end)
                seen.add("quicker" if is_late else "as before")
                assert least * bound.seconds[at] <= end
                assert is_late or now == before

    holds()
    assert seen == {"as before", "quicker", "fastest"}


def test_the_shared_end_is_when_all_steps_are_taken_at_once() -> None:
    """Two that take 4 steps in 2 and in 6 s: 6 and 2 of the 8 steps end after 3 s."""
    two = replace(devices([0, 0], [1e12, 1e12]), steps=np.array([4, 4]))
    chosen = replace(Choices.nothing(2), seconds=np.array([2.0, 6.0]))
    assert acs.shared_end(two, chosen) == pytest.approx(3.0)
    uneven = replace(two, steps=np.array([12, 4]))
    assert acs.shared_end(uneven, chosen) == pytest.approx(16 / (6 + 4 / 6))
    assert acs.shared_end(two, Choices.nothing(2)) == 0.0


def test_no_other_deadline_gains_more_per_second() -> None:
    binding, several = Premise(), Premise()

    @settings(max_examples=300)
    @given(problems())
    def holds(problem: Problem) -> None:
        gain = acs.gains(np.array(problem.norms))
        end, chosen = acs.choose_deadline(problem.fleet, problem.k, gain)
        options = [[(t, float(gain[d - 1])) for d, _, t in one] for one in problem.options() if one]
        several.note(sum(len(one) > 1 for one in options) > 1)
        if not options:
            assert not chosen.depth.any()
            return
        latest = max(min(t for t, _ in one) for one in options)

        def rate(T: float) -> float:
            return sum(max((gain for t, gain in one if t <= T), default=0.0) for one in options) / T

        ends = {t for one in options for t, _ in one}
        best = max(rate(T) for T in ends if latest <= T)
        binding.note(max(rate(T) for T in ends) > best)
        taken = sum(gain[d - 1] for d in chosen.depth if d)
        assert taken / end == pytest.approx(best)
        assert latest <= max(chosen.seconds[chosen.depth > 0]) <= end

    holds()
    several.check()
    assert binding.held >= 30  # an earlier end, for which somebody would have to be left behind, often gains more


def test_theta_and_c_are_those_of_the_settings() -> None:
    """Two devices at the mean: theta keeps the slow one's deeper candidates out; a large c makes depth outweigh the gap."""
    k = Constants(c_f=50, c_d=10, c_a=0, m_f=0, m_o=100, m_q=0)
    fleet, even = devices([400, 400], [1.0, 1.0], k), np.ones(4)  # (1, 0) to (4, 0) take 60, 70, 80, 90
    by_theta = [
        rows(acs.decide(Settings(rule="default", theta=theta), fleet, k, even, 40.0)) for theta in (0.5, 0.75, 1.25)
    ]
    assert [found[0] for found in by_theta] == [(1, 0, ""), (2, 0, ""), (4, 0, "")]
    by_c = [rows(acs.decide(Settings(c=c), fleet, k, even, 70.0))[0][0] for c in (1e-4, 1e4)]
    assert by_c == [2, 4]


def test_a_layer_that_nobody_has_measured_counts_as_the_measured_one_above_it() -> None:
    unknown = np.full(12, np.nan)
    assert acs.gains(unknown).tolist() == list(range(1, 13))
    unknown[4:] = [0.01, 0.02, 0.03, 0.04, 0.05, 0.08, 0.1, 0.15]
    gain = acs.gains(unknown)
    assert gain[:8] == pytest.approx(np.cumsum([0.15, 0.1, 0.08, 0.05, 0.04, 0.03, 0.02, 0.01]))
    assert np.diff(gain[7:]) == pytest.approx([0.01] * 4)
    between = np.array([3.0, np.nan, np.nan, 2.0, np.nan])  # the top one has none above it
    assert np.diff(acs.gains(between), prepend=0) == pytest.approx([2, 2, 2, 2, 3])


def test_candidates_of_a_memory_worth_five_layers_are_those_of_figure_4b() -> None:
    """Figure 4(b) has (5, 0), (8, 5) and (10, 9) under one budget; that needs m_q = 0.6 m_o: at 0.58 it is (8, 6)."""
    five = devices([1000 + 5 * 100], [1.0])
    for m_q, expected in ((60, {(5, 0), (8, 5), (10, 9)}), (58, {(8, 6), (9, 7), (10, 9)})):
        k = replace(LARGE, m_f=1000, m_o=100, m_q=m_q)
        found = {(d, int(a[0])) for d, a, fits, _ in acs.candidates(five, k, 12) if fits[0]}
        assert expected <= found
        assert max(d for d, _ in found) == (11 if m_q == 60 else 10)


@pytest.mark.parametrize(
    ("k", "deepest"), [(4, 8), (5, 10), (6, 12), (7, 15), (8, 17), (9, 20), (10, 22), (11, 24), (18, 24)]
)
def test_how_deep_quantization_reaches_at_58_percent(k: int, deepest: int) -> None:
    constants = replace(LARGE, m_f=0, m_o=100, m_q=58)
    assert acs.choose_deepest(devices([100 * k], [1.0]), constants, 24).depth[0] == deepest


def test_the_first_round_gives_every_device_its_deepest_unquantized_depth() -> None:
    memory = [footprint(LARGE, k, 0) for k in (4, 17, 24)] + [LARGE.m_f, LARGE.m_f - 1]
    chosen = acs.decide(Settings(), devices(memory, [1e12] * 5), LARGE, np.ones(24), 0.0)
    assert rows(chosen) == [(4, 0, ""), (17, 0, ""), (24, 0, ""), (0, 0, "head"), (0, 0, "skip")]


def test_the_printed_algorithm_sends_a_straggler_deepest_and_the_cap_does_not() -> None:
    """A device slower than t_avg even at d=1, flat gains: R then grows with d (methods: decision 1)."""
    straggler = devices([footprint(LARGE, 10, 0)], [1e11])
    flat = np.ones(24)
    literal = acs.decide(Settings(rule="literal"), straggler, LARGE, flat, 10.0)
    capped = acs.decide(Settings(), straggler, LARGE, flat, 10.0)
    assert literal.depth[0] == 21  # as deep as quantization takes it
    assert rows(capped) == [(1, 0, "fastest")]


def test_figure_6_a_fast_device_is_quantized_deeper_and_a_slow_one_only_as_far_as_the_average_allows() -> None:
    """The paper's Figure 6 with numbers; docs/cost-model.md tells it.

    Both devices have memory for 4 layers; c_f, c_d, c_a = 50, 5, 3.6 (ms on an A6000, methods section 9), t_avg =
    100, g = 1. Device 1, speed 1.5, takes the deepest there is and still ends early. Device 2, speed 0.9, could hold
    (8, 7) too, but would end at 128: it stops at (6, 4).
    """
    k = Constants(c_f=50, c_d=5, c_a=3.6, m_f=1000, m_o=100, m_q=58)
    chosen = acs.decide(Settings(), devices([1400, 1400], [1.5, 0.9], k), k, np.ones(12), 100.0)
    assert rows(chosen) == [(8, 7, ""), (6, 4, "")]
    assert chosen.seconds == pytest.approx([76.8, 104.889], abs=1e-3)


def test_a_gap_measured_as_a_share_of_the_mean_does_not_depend_on_the_unit_of_time() -> None:
    memory, speed = [footprint(LARGE, 8, 0)] * 3, [4e11, 1e12, 2e12]
    relative = Settings(is_relative=True, c=0.05)
    seconds = acs.decide(relative, devices(memory, speed), LARGE, np.ones(24), 4.0)
    hours = acs.decide(relative, devices(memory, [s / 3600 for s in speed]), LARGE, np.ones(24), 4.0 * 3600)
    assert rows(seconds) == rows(hours)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    many = devices(
        (LARGE.m_f + LARGE.m_o * random.integers(1, 25, 500)).tolist(), random.uniform(3e11, 2e12, 500).tolist()
    )
    gain: Floats = acs.gains(np.exp(0.08 * np.arange(24)))
    whole = acs.choose(Settings(), many, LARGE, gain, 6.0)
    monkeypatch.setattr(acs, "BLOCK", 7)
    assert rows(acs.choose(Settings(), many, LARGE, gain, 6.0)) == rows(whole)


def test_an_empty_fleet_is_given_nothing() -> None:
    assert len(acs.choose(Settings(), devices([], []), LARGE, acs.gains(np.ones(3)), 1.0).depth) == 0
    assert len(acs.choose_deadline(devices([], []), LARGE, acs.gains(np.ones(3)))[1].depth) == 0


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [({"rule": "greedy"}, "'greedy'.*literal"), ({"theta": -1.0}, "theta is -1"), ({"c": 0.0}, "c is 0")],
)
def test_settings_that_mean_nothing_are_refused(given_settings: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Settings(**given_settings)  # type: ignore[arg-type]
