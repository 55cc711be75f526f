"""A round of every method by hand: three devices, two layers, which start at 10 and 11; the head starts at 0.

The devices have the memory of LoRA depths 1, 2 and 2. Those asked add 1, 3 and 5 to all they train, have 10, 10 and 20
examples, and LoRA products of norm 1, 2 and 3. Probed, layer 0 has the greatest gradients. The campaign's rank is 2.
"""

from dataclasses import dataclass, replace

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


def golden(trained: list[tuple[int, ...]], rows: list[list[float]], head: float, **more: object) -> Golden:
    quantized = more.pop("quantized", (0, 0, 0))
    return Golden(trained=trained, rows=rows, head=head, params=more, quantized=quantized)  # type: ignore[arg-type]


DEPTHS = [(1,), (0, 1), (0, 1)]
MEAN = [[14, 14], [14, 14]]  # 10 + (3 + 5) / 2, 11 + (1 + 3 + 5) / 3
ROUNDS = {
    "fedlora:depth": golden(DEPTHS, MEAN, 3),
    "fedlora:exclusive": golden([(), (0, 1), (0, 1)], [[14, 14], [15, 15]], 4),
    "fedquad": golden(DEPTHS, MEAN, 3),
    "fedquad_wo_qd": golden(DEPTHS, MEAN, 3),
    "fedquad_wo_ld": golden(DEPTHS, MEAN, 3, quantized=(0, 1, 1)),
    # Device 0 holds one layer and drew layer 1; with fewer layers to load it runs nothing else.
    "fedra": golden(DEPTHS, MEAN, 3),
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
    start = rounds.begin(made, adapter(layers=2, rank=made.greatest_rank(2), fill=10), known)
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


def test_every_method_has_its_golden_round() -> None:
    assert {name.partition(":")[0] for name in ROUNDS} == set(discover.strategies())
