"""A round of every method by hand: three devices, two layers, which start at 10 and 11; the head starts at 0.

The devices have the memory of LoRA depths 1, 2 and 2. Those asked add 1, 3 and 5 to all they train, have 10, 10 and 20
examples, and LoRA products of norm 1, 2 and 3. Probed, layer 0 has the greatest gradients. The campaign's rank is 2.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from fleet_of_three import adapter, answer
from pretend import everyone, fleet, run

from fedquad import discover
from fedquad.prices.cost import CostModel, cost_model
from fedquad.prices.shapes import SHAPES
from fedquad.rounds import round as rounds
from fedquad.spec import CostSpec, ModelSpec, TrainingSpec
from fedquad.types import Adapter, Assignment, Update


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Who trains what, and the first number of every LoRA row, by layer, and of the head."""

    trained: list[tuple[int, ...]]
    rows: list[list[float]]
    head: float
    params: dict[str, object]
    quantized: tuple[int, ...] = (0, 0, 0)
    round: int = 1


def golden(trained: list[tuple[int, ...]], rows: list[list[float]], head: float, **more: object) -> Golden:
    own = {key: more.pop(key) for key in ("quantized", "round") if key in more}
    return Golden(trained=trained, rows=rows, head=head, params=more, **own)  # type: ignore[arg-type]


DEPTHS = [(1,), (0, 1), (0, 1)]
MEAN = [[14, 14], [14, 14]]  # 10 + (3 + 5) / 2, 11 + (1 + 3 + 5) / 3
ROUNDS = {
    "fedlora:depth": golden(DEPTHS, MEAN, 3),
    "fedlora:exclusive": golden([(), (0, 1), (0, 1)], [[14, 14], [15, 15]], 4),
    "fedquad": golden(DEPTHS, MEAN, 3),
    "fixed": golden([(1,), (1,), (1,)], [[10, 10], [14, 14]], 3, depth=1),
    "fedquad_wo_qd": golden(DEPTHS, MEAN, 3),
    "fedquad_wo_ld": golden(DEPTHS, MEAN, 3, quantized=(0, 1, 1)),
    # Device 0 holds one layer and draws layer 0 in round 3: 10 + (1 + 3 + 5) / 3, 11 + (3 + 5) / 2.
    "fedra": golden([(0,), (0, 1), (0, 1)], [[13, 13], [15, 15]], 3, round=3),
    # Device 0 has a model of one layer, which shares nothing: the rest is 1 and 2 by examples, (10 * 3 + 20 * 5) / 30.
    "inclusivefl": golden([(0,), (0, 1), (0, 1)], [[10 + 13 / 3] * 2, [11 + 13 / 3] * 2], 13 / 3, step=1),
    # Device 0 selects layer 0: 10 + (10 * 1 + 10 * 3 + 20 * 5) / 40.
    "layersel:paper": golden([(0,), (0, 1), (0, 1)], [[13.5] * 2, [11 + 13 / 3] * 2], 3.5),
    # Its memory allows it no other candidate than layer 1.
    "layersel:strict": golden(DEPTHS, [[10 + 13 / 3] * 2, [14.5] * 2], 3.5),
    # Ranks 2, 4, 4, weights 1, 2, 3. Layer 0: (2 * 13 + 3 * 15) / 5. Layer 1: (12 + 2 * 14 + 3 * 16) / 6, and without
    # device 0, which counts as zero, (2 * 14 + 3 * 16) / 6.
    "hetlora:strict": golden(DEPTHS, [[14.2] * 4, [44 / 3, 44 / 3, 38 / 3, 38 / 3]], 3),
    # Ranks 1 and 3; the slowest device trains one layer less than it could, and layer 0 is device 1's.
    "legend": golden([(1,), (0, 1), (1,)], [[13], [14, 14, 14]], 3),
}


def two_layers() -> CostModel:
    shape = replace(SHAPES["roberta-base"], layers=2)
    return cost_model(shape, ModelSpec(rank=2), TrainingSpec(), CostSpec(batch=32, sequence=128), labels=3)


def device(assignment: Assignment, sent: Adapter, number: int) -> Update:
    at = assignment.device
    done = answer(
        assignment, sent, (1.0, 3.0, 5.0)[at], round=number, examples=(10, 10, 20)[at], lora_norm=(1.0, 2.0, 3.0)[at]
    )
    return done if assignment.steps else replace(done, signals={"gradient_squares": np.array([2.0, 1.0])})


@pytest.mark.parametrize("method", ROUNDS)
def test_the_golden_round(method: str) -> None:
    expected, cost = ROUNDS[method], two_layers()
    made = discover.strategy(method, expected.params)
    known = everyone(3, cost=cost, rank=2, memory_policy=made.memory_policy)
    begun = rounds.begin(made, adapter(layers=2, rank=made.greatest_rank(2), fill=10), known)
    start = replace(begun, round=expected.round - 1)
    planned, _, outcome = run(made, start, fleet(1, 2, 2, cost=cost), known, device)
    given = {a.device: a for a in planned.assignments}
    assert [given[one].trained if one in given else () for one in range(3)] == expected.trained
    assert tuple(len(given[one].quantized) if one in given else 0 for one in range(3)) == expected.quantized
    assert outcome.failures == {}
    view = made.view(outcome.state, known)
    for layer, wanted in enumerate(expected.rows):
        pair = view.layers[layer]["q"]
        np.testing.assert_allclose(pair.a, np.repeat(np.array(wanted)[:, None], 3, axis=1), rtol=1e-6)
        np.testing.assert_allclose(pair.b, np.repeat(np.array(wanted)[None, :], 3, axis=0), rtol=1e-6)
    np.testing.assert_allclose(view.head["classifier.weight"], np.full((2, 3), expected.head), rtol=1e-6)


@dataclass(frozen=True, kw_only=True)
class Second:
    """A round in which ACS chooses by reward: depths, quantized layers, and what both layers' rows come to."""

    depths: tuple[int, int, int]
    quantized: tuple[int, int, int]
    rows: tuple[float, float]


SECOND = {
    "fedquad:default": Second(depths=(2, 1, 1), quantized=(1, 0, 0), rows=(11, 14)),
    "fedquad:literal": Second(depths=(2, 1, 2), quantized=(1, 0, 0), rows=(13, 14)),
    "fedquad:deadline": Second(depths=(2, 2, 2), quantized=(1, 0, 0), rows=(13, 14)),
    "fedquad_wo_qd:default": Second(depths=(1, 1, 1), quantized=(0, 0, 0), rows=(10, 14)),
    "fedlora:depth": Second(depths=(1, 2, 2), quantized=(0, 0, 0), rows=(14, 14)),
}


def by_hand() -> CostModel:
    """One FLOP a second and layer: forward 4, backward 1, INT8 0.5; a layer keeps 10 bytes, 9 less in INT8; 100 are fixed."""
    cost = two_layers()
    nothing = {item.name: 0 for item in fields(cost.flops)}
    flops = replace(cost.flops, **{**nothing, "forward": 4, "backward": 1})
    size = replace(cost.bytes, **{**{item.name: 0 for item in fields(cost.bytes)}, "trained": 10, "saved": 9})
    return replace(
        cost, flops=flops, bytes=size, fixed_bytes=100, head_bytes=0, head_forward=0, head_gradient=0, head_backward=0,
        quantization_flops=0.5,
    )  # fmt: skip


@pytest.mark.parametrize("method", SECOND)
def test_the_golden_second_round_in_which_acs_chooses_by_reward(method: str) -> None:
    """Three devices of 3, 1.5 and 1 FLOP/s take three steps: 8 + d + a/2, twice and three times that. Their memory is 111,
    120 and 120: device 0 has (1, 0) in 9 s and (2, 1) in 10.5; device 1 (1, 0) in 18 and (2, 0) in 20; device 2 27 and 30.

    g = (2, 3), so G = 3 and 5; t_avg = 18.5, so that 27.75 is the latest.
    Device 0: 3 / 9.5 < 5 / 8. Device 1: 3 / 0.5 > 5 / 1.5. Device 2: only (1, 0) is in time; as printed 3 / 8.5 < 5 / 11.5.
    Together: (5 + 5 + 3) / 27 < (5 + 5 + 5) / 30.
    """
    expected, cost = SECOND[method], by_hand()
    made, known = discover.strategy(method), everyone(3, cost=cost, rank=2)
    begun = rounds.begin(made, adapter(layers=2, rank=2, fill=10), known)
    start = replace(begun, round=1, gradient_norms=np.array([2.0, 3.0]), mean_seconds=18.5)
    there = replace(fleet(1.1, 2, 2, cost=cost), flops=np.array([3.0, 1.5, 1.0]))
    planned, _, outcome = run(made, start, there, known, device)
    assert tuple(len(a.trained) for a in planned.assignments) == expected.depths
    assert tuple(len(a.quantized) for a in planned.assignments) == expected.quantized
    times = {(1, 0): 9, (2, 0): 10, (2, 1): 10.5}
    chosen = zip(expected.depths, expected.quantized)
    assert [e.seconds for e in planned.estimates] == [times[one] * slow for one, slow in zip(chosen, (1, 2, 3))]
    assert [float(outcome.state.adapter.layers[layer]["q"].a[0, 0]) for layer in (0, 1)] == list(expected.rows)


def test_every_method_has_its_golden_round() -> None:
    assert {name.partition(":")[0] for name in ROUNDS} == set(discover.strategies())
