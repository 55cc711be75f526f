"""Drawing a fleet: what is promised of memory, modes, speeds, fates and the trace."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from fleet_of_three import memory_of_depth

from fedquad import discover
from fedquad.errors import SpecError, UnknownNameError
from fedquad.fleets import fleet
from fedquad.fleets.boards import CLASSES, sustained_flops
from fedquad.prices.cost import CostModel, cost_model, estimate
from fedquad.prices.shapes import SHAPES
from fedquad.spec import CostSpec, FleetSpec, ModelSpec, TrainingSpec
from fedquad.strategies.fedlora import depths_that_fit
from fedquad.types import Assignment

BOARDS = discover.boards()
THREE = {"jetson-agx-xavier": 30, "jetson-xavier-nx": 30, "jetson-tx2": 40}


def priced(name: str = "roberta-large") -> CostModel:
    return cost_model(SHAPES[name], ModelSpec(), TrainingSpec(batch=32), CostSpec(sequence=128), labels=3)


def make(**settings: object) -> fleet.Fleet:
    return fleet.resolve(FleetSpec(**{"boards": THREE, **settings}), BOARDS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layers", "weak", "moderate", "strong"),
    [
        (24, (4, 10), (11, 17), (18, 24)),
        (12, (2, 5), (6, 8), (9, 12)),
        (6, (1, 2), (3, 4), (5, 6)),
        (1, (1, 1), (1, 1), (1, 1)),
    ],
)
def test_depth_ranges_are_fractions_of_the_layers(layers: int, weak: object, moderate: object, strong: object) -> None:
    ranges = [fleet.depth_range(name, layers) for name in ("weak", "moderate", "strong")]
    assert ranges == [weak, moderate, strong]


@pytest.mark.parametrize("name", ["roberta-large", "roberta-base"])
def test_memory_is_exactly_a_depth_of_vanilla_fedlora_of_the_class(name: str) -> None:
    cost = priced(name)
    seen: dict[str, set[int]] = {one: set() for one in CLASSES}
    for round in range(1, 30):
        statuses = fleet.draw(make(), cost, 0, round)
        depths = depths_that_fit(cost, statuses.memory_bytes)
        assert np.array_equal(statuses.memory_bytes, [memory_of_depth(cost, int(k)) for k in depths])
        for index, one in enumerate(CLASSES):
            seen[one] |= set(depths[statuses.class_of == index].tolist())
    for one, depths_seen in seen.items():
        low, high = fleet.depth_range(one, cost.layers)
        assert depths_seen == set(range(low, high + 1))


def test_a_depth_that_memory_was_drawn_for_fits_and_the_next_does_not() -> None:
    cost = priced()
    status = fleet.draw(make(), cost, 0, 1)[99]
    (depth,) = depths_that_fit(cost, np.array([status.memory_bytes]))
    fits, over = (
        estimate(
            Assignment(
                device=99,
                present=tuple(range(24)),
                trained=tuple(range(24 - d, 24)),
                ranks=(8,) * 24,
                steps=1,
                learning_rate=1.0,
            ),
            cost,
            status,
        ).peak_bytes
        for d in (depth, depth + 1)
    )
    assert fits <= status.memory_bytes < over


def test_modes_last_ten_rounds_and_memory_one() -> None:
    spec = make()
    drawn = [fleet.draw(spec, priced(), 3, round) for round in range(1, 22)]
    for round in range(2, 22):
        same = np.array_equal(drawn[round - 1].mode_of, drawn[round - 2].mode_of)
        assert same == (round not in (11, 21))
        assert not np.array_equal(drawn[round - 1].memory_bytes, drawn[round - 2].memory_bytes)


def test_speeds_are_those_of_the_modes_that_take_part() -> None:
    spec = make(modes={"jetson-tx2": ("MAXQ",)})
    statuses = fleet.draw(spec, priced(), 0, 1)
    tx2 = BOARDS["jetson-tx2"]
    assert {statuses[i].mode for i in range(60, 100)} == {"MAXQ"}
    assert set(statuses.flops[60:].tolist()) == {sustained_flops(tx2, tx2.mode("MAXQ"))}
    assert {statuses[i].mode for i in range(30)} <= {m.name for m in BOARDS["jetson-agx-xavier"].modes if m.usual}


@pytest.mark.parametrize(("spread", "ratio"), [("3x", 3.0), ("6x", 6.0), ("20x", 20.0)])
def test_a_spread_is_the_ratio_of_fastest_to_slowest(spread: str, ratio: float) -> None:
    spec = make(spread=spread, mode_rounds=1)
    speeds = np.array([fleet.draw(spec, priced(), 0, round).flops for round in range(1, 20)])
    assert speeds.max() / speeds.min() == pytest.approx(ratio)
    strong, moderate, weak = speeds[:, :30], speeds[:, 30:60], speeds[:, 60:]
    assert weak.max() < moderate.min()
    assert moderate.max() < strong.min()
    assert [len(np.unique(part)) for part in (strong, moderate, weak)] == [8, 4, 4]


def test_the_trace_is_the_seeds_alone() -> None:
    cost = priced()
    assert fleet.digest(make(), cost, 0, 3) == fleet.digest(make(), cost, 0, 3)
    others = [
        fleet.digest(make(), cost, 1, 3),
        fleet.digest(make(), cost, 0, 4),
        fleet.digest(make(jitter=0.1), cost, 0, 3),
        fleet.digest(make(bandwidth="4g"), cost, 0, 3),
        fleet.digest(make(), priced("roberta-base"), 0, 3),
    ]
    assert len({fleet.digest(make(), cost, 0, 3), *others}) == 6


def test_a_rounds_statuses_do_not_depend_on_which_rounds_were_drawn_before() -> None:
    spec, cost = make(bandwidth="wifi_testbed", availability=0.5), priced()
    late = fleet.draw(spec, cost, 0, 7)
    for round in range(1, 7):
        fleet.draw(spec, cost, 0, round)
    again = fleet.draw(spec, cost, 0, 7)
    for key in ("memory_bytes", "mode_of", "flops", "upload_bandwidth", "available"):
        assert np.array_equal(getattr(late, key), getattr(again, key))


def test_jitter_is_positive_with_mean_one_and_the_spread_asked_for() -> None:
    big = make(boards={"jetson-tx2": 200_000}, jitter=0.3)
    factor = fleet.fates(big, 0, 0, 1).time_factor
    assert factor.min() > 0
    assert factor.mean() == pytest.approx(1, abs=0.005)  # 0.3 / sqrt(200,000), seven times over
    assert factor.std() == pytest.approx(0.3, abs=0.005)


def test_without_jitter_or_dropout_nothing_happens_to_anyone() -> None:
    fate = fleet.fates(make(), 0, 0, 1)
    assert np.array_equal(fate.time_factor, np.ones(100))
    assert not fate.dropped.any()


def test_another_attempt_has_other_fates_but_the_same_statuses() -> None:
    spec = make(dropout=0.5, jitter=0.1)
    first, second = fleet.fates(spec, 0, 0, 1), fleet.fates(spec, 0, 1, 1)
    assert not np.array_equal(first.dropped, second.dropped)
    assert not np.array_equal(first.time_factor, second.time_factor)


def test_availability_dropout_and_bandwidth_are_drawn_as_asked() -> None:
    spec = make(boards={"jetson-tx2": 50_000}, availability=0.7, dropout=0.2, bandwidth="4g")
    statuses = fleet.draw(spec, priced(), 0, 1)
    assert statuses.available.mean() == pytest.approx(0.7, abs=0.02)
    assert fleet.fates(spec, 0, 0, 1).dropped.mean() == pytest.approx(0.2, abs=0.02)
    low, high = (rate * 1e6 / 8 for rate in fleet.BANDWIDTHS["4g"])
    assert low <= statuses.upload_bandwidth.min()
    assert statuses.download_bandwidth.max() <= high
    assert not np.array_equal(statuses.upload_bandwidth, statuses.download_bandwidth)


def test_free_memory_of_the_board_itself_stays_below_what_it_has() -> None:
    statuses = fleet.draw(make(memory="board"), priced(), 0, 1)
    for device in (0, 30, 60):
        board = BOARDS[statuses[device].board]
        assert 0 < statuses.memory_bytes[device] <= (board.ram_gib - board.reserve_gib) * 2**30


def test_a_million_devices_are_arrays() -> None:
    million = make(boards={"jetson-agx-xavier": 300_000, "jetson-xavier-nx": 300_000, "jetson-tx2": 400_000})
    tracemalloc.start()
    statuses = fleet.draw(million, priced(), 0, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(statuses) == 1_000_000
    assert peak < 300e6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"boards": {"jetson-tx9": 1}}, r"fleet\.boards.*'jetson-tx9'.*jetson-tx2"),
        ({"modes": {"jetson-tx2": ("MAXX",)}}, r"fleet\.modes\.jetson-tx2.*'MAXX'.*MAXQ"),
        ({"modes": {"jetson-tx2": ()}}, r"fleet\.modes\.jetson-tx2 is empty"),
        ({"modes": {"jetson-nano": ("5W",)}}, r"fleet\.modes\.jetson-nano.*fleet\.boards"),
        ({"modes": {"jetson-tx2": ("MAXQ",)}, "spread": "6x"}, r"fleet\.modes\.jetson-tx2.*spread"),
        ({"boards": {}}, r"fleet\.boards.*at least one device"),
        ({"boards": {"jetson-tx2": 0}}, r"fleet\.boards.*at least one device"),
        ({"trace": "phones.json"}, r"fleet\.trace.*no trace was read"),
    ],
)
def test_what_cannot_be_a_fleet_is_refused_with_the_field(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make(**settings)


def test_an_unknown_board_names_those_there_are() -> None:
    with pytest.raises(UnknownNameError):
        fleet.resolve(FleetSpec(boards={"abacus": 1}), BOARDS)


def test_the_order_of_magnitude_of_a_round_is_that_of_a_tx2() -> None:
    """RoBERTa-large on MNLI, depth 24, TX2 in MAXQ: devices.md derives 2859 s a round at 0.5 of the peak."""
    statuses = fleet.draw(make(modes={"jetson-tx2": ("MAXQ",)}), priced(), 0, 1)
    whole = Assignment(
        device=99, present=tuple(range(24)), trained=tuple(range(24)), ranks=(8,) * 24, steps=123, learning_rate=1.0
    )
    cost = replace(priced(), quantization="paper")
    assert estimate(whole, cost, statuses[99]).seconds == pytest.approx(2859, rel=0.02)
