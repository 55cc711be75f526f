"""FedQuad and its ablations as strategies: the plans they make of statuses, g_l and t_avg."""

from dataclasses import replace

import numpy as np
import pytest
from fleet_of_three import adapter, memory_of_depth, pricing, state, statuses, world

from fedquad import rng
from fedquad.discover import strategy
from fedquad.errors import SpecError
from fedquad.prices.cost import estimate
from fedquad.rounds import acs
from fedquad.strategies.fedlora import top_layers
from fedquad.types import Assignment, Statuses

COST = pricing()
LAYERS = COST.layers
MEMORY = [memory_of_depth(COST, depth) for depth in (3, 7, 10)]
SPEED = [0.25e12, 0.5e12, 1e12]


def planned(name: str, there: Statuses, mean: float, **params: float | bool | str) -> tuple[Assignment, ...]:
    begun = state(adapter(layers=LAYERS), round=1, gradient_norms=1.05 ** np.arange(LAYERS), mean_seconds=mean)
    return strategy(name, params).plan(begun, there, world(COST), rng.stream(0))


def shape(plan: tuple[Assignment, ...]) -> list[tuple[int, int]]:
    return [(len(one.trained), len(one.quantized)) for one in plan]


def seconds(plan: tuple[Assignment, ...], there: Statuses) -> list[float]:
    return [estimate(one, COST, there[one.device]).seconds for one in plan]


def test_quantized_layers_are_the_lowest_trained_ones_and_all_layers_are_present() -> None:
    for one in planned("fedquad", statuses(MEMORY, SPEED), 30.0):
        depth, quantized = len(one.trained), len(one.quantized)
        assert one.trained == tuple(range(LAYERS - depth, LAYERS))
        assert one.quantized == tuple(range(LAYERS - depth, LAYERS - depth + quantized))
        assert one.present == tuple(range(LAYERS))


def test_the_first_round_is_fedloras() -> None:
    there = statuses(MEMORY, SPEED)
    assert shape(planned("fedquad", there, 0.0)) == [(3, 0), (7, 0), (10, 0)]


def test_every_plan_fits_and_ends_by_t_avg_plus_theta_unless_it_is_the_fastest() -> None:
    there = statuses(MEMORY, SPEED)
    mean = float(np.mean(seconds(planned("fedquad", there, 0.0), there)))
    plan = planned("fedquad", there, mean)
    for one, taken in zip(plan, seconds(plan, there)):
        assert estimate(one, COST, there[one.device]).peak_bytes <= there.memory_bytes[one.device]
        assert taken <= 1.5 * mean or len(one.trained) == 1
    tight = planned("fedquad", there, mean, theta=0.0)
    assert max(seconds(tight, there)) < max(seconds(plan, there))
    assert shape(planned("fedquad", there, mean, c=1e6)) != shape(plan)


@pytest.mark.parametrize("quantization", ["paper", "roofline"])
def test_the_seconds_that_acs_compares_are_the_prices_with_the_network_in(quantization: str) -> None:
    cost = replace(
        COST, quantization=quantization, quantization_flops=COST.quantization_flops * (quantization == "paper")
    )
    there = replace(
        statuses(MEMORY, SPEED),
        upload_bandwidth=np.array([1e5, 2e6, 1e7]),
        download_bandwidth=np.array([3e5, 1e6, 1e9]),
    )
    steps = np.array([1, 4, 9])
    devices = acs.describe(cost, there, steps)
    for depth, quantized in ((1, 0), (5, 2), (LAYERS, LAYERS - 1)):
        plan = [top_layers(world(cost), device, depth, 1, quantized) for device in range(3)]
        priced = [estimate(replace(one, steps=int(t)), cost, there[one.device]).seconds for one, t in zip(plan, steps)]
        assert devices.seconds(depth, np.full(3, quantized)) == pytest.approx(priced, rel=1e-12)


def test_a_device_that_trains_the_head_alone_is_planned_with_what_it_costs() -> None:
    there = statuses([COST.constants.m_f] * 3, SPEED)
    plan = planned("fedquad", there, 30.0)
    devices = acs.describe(COST, there, np.array([one.steps for one in plan]))
    chosen = acs.decide(acs.Settings(), devices, COST.constants, np.ones(LAYERS), 30.0)
    assert chosen.seconds == pytest.approx(seconds(plan, there), rel=1e-12)


def test_without_quantized_depth_no_layer_is_quantized_and_no_depth_exceeds_k() -> None:
    there = statuses(MEMORY, SPEED)
    for mean in (5.0, 30.0, 300.0):
        for (depth, quantized), k in zip(shape(planned("fedquad_wo_qd", there, mean)), (3, 7, 10)):
            assert quantized == 0
            assert depth <= k


def test_without_adaptive_depth_every_device_goes_as_deep_as_quantization_takes_it() -> None:
    there = statuses(MEMORY, SPEED)
    most, least = shape(planned("fedquad_wo_ld", there, 1.0)), shape(planned("fedquad_wo_ld:minimum", there, 1.0))
    reach = acs.choose_deepest(acs.describe(COST, there, np.ones(3, dtype=np.int64)), COST.constants, LAYERS)
    assert [depth for depth, _ in most] == reach.depth.tolist() == [depth for depth, _ in least]
    assert all(depth > k for (depth, _), k in zip(most, (3, 7, 10)))
    assert [quantized for _, quantized in most] == [depth - 1 for depth, _ in most]
    assert all(a <= b for (_, a), (_, b) in zip(least, most))


def test_a_device_without_memory_for_a_layer_trains_the_head_and_one_without_memory_for_the_model_is_left_out() -> None:
    there = statuses([COST.constants.m_f, COST.constants.m_f - 1, MEMORY[1]], SPEED)
    for name in ("fedquad", "fedquad_wo_qd", "fedquad_wo_ld", "fedquad:deadline"):
        plan = planned(name, there, 30.0)
        assert [one.device for one in plan] == [0, 2]
        assert plan[0].trained == ()


def test_the_variants_are_the_rules() -> None:
    slow = statuses([MEMORY[1]] * 3, [0.05e12, 1e12, 1e12])
    default, literal = (planned(f"fedquad:{rule}", slow, 30.0)[0] for rule in ("default", "literal"))
    assert len(default.trained) == 1
    assert len(literal.trained) == 7  # all that it holds: as printed, a straggler earns more the deeper it trains
    assert planned("fedquad", slow, 30.0, acs="literal")[0] == literal
    together = planned("fedquad:deadline", slow, 30.0)
    assert len({round(s, 6) for s in seconds(together, slow)[1:]}) == 1


def test_hyper_parameters_that_mean_nothing_are_refused() -> None:
    with pytest.raises(SpecError, match="theta is -1"):
        strategy("fedquad", {"theta": -1})
    with pytest.raises(SpecError, match="no parameter 'depth'"):
        strategy("fedquad", {"depth": 3})
