"""LayerSel's selection and its probe, in numbers that can be checked by hand."""

from dataclasses import replace

import numpy as np
import pytest
from fleet_of_three import statuses
from hypothesis import given
from hypothesis import strategies as st
from pretend import COST, begin, everyone, fleet, plan, planned, run

from fedquad.discover import strategy
from fedquad.prices.cost import estimate
from fedquad.rounds import facts
from fedquad.strategies import layersel

scores = st.integers(2, 4).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 9).map(float), min_size=5, max_size=5), min_size=n, max_size=n).map(
        np.array
    )
)


def all_masks(budgets: list[int], layers: int) -> list[np.ndarray]:
    """Every choice of exactly so many layers for each device."""
    from itertools import combinations, product

    rows = [[np.isin(np.arange(layers), chosen) for chosen in combinations(range(layers), b)] for b in budgets]
    return [np.array(choice) for choice in product(*rows)]


@given(p=scores, data=st.data())
def test_layersel_without_lambda_is_everyones_own_best(p: np.ndarray, data: st.DataObject) -> None:
    budgets = np.array([data.draw(st.integers(0, 5)) for _ in p])
    masks = layersel.select(p, budgets, 0.0)
    assert list(masks.sum(axis=1)) == list(budgets)
    for row, mask, budget in zip(p, masks, budgets):
        assert row[mask].sum() == np.sort(row)[5 - budget :].sum()


@given(p=scores, budget=st.integers(1, 4))
def test_layersel_with_a_large_lambda_agrees_on_the_best_sum(p: np.ndarray, budget: int) -> None:
    masks = layersel.select(p, np.full(len(p), budget), 1000.0)
    assert (masks == masks[0]).all()
    assert p.sum(axis=0)[masks[0]].sum() == np.sort(p.sum(axis=0))[5 - budget :].sum()


@given(p=scores, balance=st.sampled_from([0.1, 0.5, 2.0]), data=st.data())
def test_layersels_ascent_never_ends_below_where_it_began(p: np.ndarray, balance: float, data: st.DataObject) -> None:
    budgets = np.array([data.draw(st.integers(1, 4)) for _ in p])
    chosen = layersel.select(p, budgets, balance)
    assert list(chosen.sum(axis=1)) == list(budgets)
    own = layersel.objective(p, layersel.select(p, budgets, 0.0), balance)
    assert layersel.objective(p, chosen, balance) >= own - 1e-9


def test_layersel_finds_the_optimum_of_p1_where_it_can_be_enumerated() -> None:
    """Two devices, three layers, R = 1. Apart: 5 + 5 - 2 lambda; together on layer 1: 4 + 4."""
    p = np.array([[5.0, 4, 0], [0, 4, 5]])
    assert layersel.select(p, np.array([1, 1]), 0.5).tolist() == [[True, False, False], [False, False, True]]
    assert layersel.select(p, np.array([1, 1]), 2.0).tolist() == [[False, True, False], [False, True, False]]
    draw = np.random.default_rng(0)
    misses = 0
    for _ in range(40):
        p, budgets = draw.uniform(0, 2, (3, 4)), [1, 2, 2]
        best = max(layersel.objective(p, masks, 0.3) for masks in all_masks(budgets, 4))
        misses += layersel.objective(p, layersel.select(p, np.array(budgets), 0.3), 0.3) < best - 1e-9
    assert misses <= 4  # an ascent may end in a local optimum


def test_the_objective_of_p1_by_hand() -> None:
    """Masks 110, 011 and 100: pairs differ in 2, 1 and 3 layers, so 6 lambda go off p's sum."""
    masks = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 0]], dtype=bool)
    assert layersel.objective(np.ones((3, 3)), masks, 0.1) == pytest.approx(5 - 0.6)


def test_layersel_as_published_probes_every_layer_and_counts_what_does_not_fit() -> None:
    made, known = strategy("layersel:paper"), everyone(2, memory_policy="flag")
    there = fleet(3, 12)
    done = plan(made, begin(made, known), there, known)
    assert [len(probe.assignment.trained) for probe in done.survey] == [12, 12]
    assert [len(a.trained) for a in done.assignments] == [3, 12]
    assert done.over_memory == (0,)
    strict = plan(made, begin(made, known), there, everyone(2))
    assert [probe.assignment.device for probe in strict.survey] == [1]


def test_layersel_strict_stays_among_the_layers_that_a_probe_fits() -> None:
    chosen = planned("layersel:strict", 3, 8, budget=2)
    assert [len(a.trained) for a in chosen] == [2, 2]
    assert all(min(a.trained) >= 12 - depth for a, depth in zip(chosen, (3, 8)))


def test_the_probe_is_on_the_clock_and_costs_one_batch_at_full_depth() -> None:
    made, known = strategy("layersel"), everyone(2, memory_policy="flag")
    there = fleet(12, 12)
    done, _, outcome = run(made, begin(made, known), there, known)
    one_step = estimate(replace(planned("fedlora", 12)[0], steps=1), COST, there[1]).seconds
    assert done.survey[1].seconds == pytest.approx(one_step)
    training = max(outcome.seconds.values())
    assert outcome.timing.round_seconds == pytest.approx(training + one_step)
    assert outcome.state.clock_seconds == outcome.timing.round_seconds
    assert outcome.state.mean_seconds == pytest.approx(
        np.mean(list(outcome.seconds.values())) + np.mean([p.seconds for p in done.survey])
    )


def test_the_probe_counts_in_traffic_and_energy_and_not_as_waiting() -> None:
    made, known = strategy("layersel"), everyone(2, memory_policy="flag")
    there = fleet(12, 12)
    done, _, outcome = run(made, begin(made, known), there, known)
    none = facts.Scores(score=0.5, loss=None, validation_score=0.5, validation_loss=None)
    kept = facts.round_facts(done, outcome, there, none, {})
    everything = [*(e for _, e in done.asked), *(probe.estimate for probe in done.survey)]
    assert kept.download_bytes == sum(e.download_bytes for e in everything)
    assert kept.upload_bytes == sum(e.upload_bytes for e in everything)
    assert np.mean([row["wait_seconds"] for row in kept.assignments]) == pytest.approx(outcome.timing.mean_wait_seconds)


def test_a_device_whose_probe_failed_selects_by_the_others_mean() -> None:
    squares = np.array([[1.0, 2, 3], [np.nan] * 3, [3, 2, 1]])
    there = replace(statuses([1] * 3), signals={layersel.SIGNAL: squares})
    p = layersel.probed(there, np.arange(3), None, 3)
    np.testing.assert_allclose(p, np.array([[1, 2, 3], [2, 2, 2], [3, 2, 1]]) / 2)
    nothing = layersel.probed(statuses([1] * 3), np.arange(3), None, 3)
    assert layersel.select(nothing, np.array([1, 2, 0]), 0.0).tolist() == [
        [False, False, True],
        [False, True, True],
        [False] * 3,
    ]


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_probes_are_compared_with_their_mean_whatever_their_size(size: float) -> None:
    squares = size * np.array([[0.1, 0.3, 0.2], [0.5, 0.4, 0.3]])
    there = replace(statuses([1] * 2), signals={layersel.SIGNAL: squares})
    np.testing.assert_allclose(layersel.probed(there, np.arange(2), None, 3), squares / squares.mean())
