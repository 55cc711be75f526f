"""FedRA and InclusiveFL, which leave layers out, in numbers that can be checked by hand."""

from dataclasses import replace

import numpy as np
import pytest
from fleet_of_three import adapter, answer, assignment, memory_of_depth, pricing, state, world
from pretend import LAYERS, begin, everyone, fleet, plan, run

from fedquad.discover import strategy
from fedquad.errors import UnknownNameError
from fedquad.rounds import facts
from fedquad.rounds import round as rounds
from fedquad.strategies import fedra, inclusivefl
from fedquad.types import Adapter, Assignment, Lora, ServerState

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}
FOUR = world(pricing(), layers=4, rank=2)


def test_fedra_holds_as_many_layers_as_the_formula_says_and_drawn_ones_are_uniform() -> None:
    """n = floor((L m_w + k m_o) / (m_w + m_o)), here of RoBERTa-large: m_w / m_o near 0.18 (weights and LoRA)."""
    cost = pricing("roberta-large", 24)
    weights, each = cost.bytes.weights + 8 * cost.bytes.lora_per_rank, cost.bytes.trained
    depths = np.array([4, 7, 10, 11, 14, 17, 18, 21, 24])
    memory = cost.fixed_bytes + 24 * weights + depths * each
    expected = [(24 * weights + d * each) // (weights + each) for d in depths]
    assert list(fedra.sizes_that_fit("memory", cost, memory)) == expected
    by_depth = np.array([memory_of_depth(cost, int(d)) for d in depths])
    assert list(fedra.sizes_that_fit("equal_depth", cost, by_depth)) == list(depths)


def test_fedra_at_m_w_of_18_percent_gives_the_sizes_of_the_specification() -> None:
    cost = pricing("roberta-large", 24)
    bytes_ = replace(cost.bytes, weights=18, trained=100, lora_per_rank=0)
    small = replace(cost, bytes=bytes_, fixed_bytes=1000)
    memory = np.array([1000 + 24 * 18 + 100 * k for k in (4, 7, 10, 11, 14, 17, 18, 21, 24)])
    assert list(fedra.sizes_that_fit("memory", small, memory)) == [7, 9, 12, 12, 15, 18, 18, 21, 24]


def test_fedra_draws_n_distinct_layers_for_each_device_and_round_anew() -> None:
    made, known = strategy("fedra"), everyone(200)
    start = begin(made, known)
    first = plan(made, start, fleet(*[5] * 200), known).assignments
    second = plan(made, replace(start, round=1), fleet(*[5] * 200), known).assignments
    size = len(first[0].present)
    assert 5 <= size < 12
    assert all(
        len(set(a.present)) == size and list(a.present) == sorted(a.present) and a.trained == a.present for a in first
    )
    assert [a.present for a in first] != [a.present for a in second]
    counts = np.bincount([layer for a in (*first, *second) for layer in a.present], minlength=LAYERS)
    share = size / LAYERS  # each layer is drawn with this probability: five standard deviations of 400 draws
    assert np.abs(counts - 400 * share).max() < 5 * np.sqrt(400 * share * (1 - share))


def test_fedras_compact_slots_go_back_to_their_layers() -> None:
    """Device 0 runs layers 1 and 3 in slots 0 and 1, s(j) = sum of P up to j, less one; its updates land on 1 and 3."""
    start = adapter(layers=4, fill=10)
    drawn = assignment(0, (1, 3), present=(1, 3), ranks=(2, 2))
    row = np.array([layer in drawn.present for layer in range(4)])
    assert [int(row[: layer + 1].sum()) - 1 for layer in drawn.present] == [
        drawn.present.index(1),
        drawn.present.index(3),
    ]
    sent = strategy("fedra").send(state(start), drawn, world())
    assert [float(sent.layers[layer]["q"].a[0, 0]) for layer in sent.layers] == [11, 13]
    after = strategy("fedra").merge(state(start), [(drawn, answer(drawn, sent, 2.0))], world()).adapter
    assert [float(after.layers[layer]["q"].a[0, 0]) for layer in range(4)] == [10, 13, 12, 15]


def test_an_unknown_conversion_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="capacity conversion"):
        strategy("fedra", {"conversion": "depth"})


@pytest.mark.parametrize(
    ("layers", "step", "expected"), [(12, 4, (4, 8, 12)), (24, 8, (8, 16, 24)), (6, 4, (4, 6)), (2, 4, (2,))]
)
def test_inclusivefls_sizes(layers: int, step: int, expected: tuple[int, ...]) -> None:
    assert inclusivefl.sizes_of(layers, step) == expected


def test_inclusivefl_takes_the_largest_size_that_fits_and_counts_who_is_too_small() -> None:
    made, known = strategy("inclusivefl"), everyone(4)
    there = fleet(1, 5, 8, 12)
    chosen, _, outcome = run(made, begin(made, known), there, known)
    assert [(a.device, len(a.present)) for a in chosen.assignments] == [(1, 4), (2, 8), (3, 12)]
    scores = facts.Scores(score=0.5, loss=None, validation_score=0.5, validation_loss=None)
    assert facts.round_facts(chosen, outcome, there, scores, {}).sitting_out == 1


def inclusive() -> tuple[ServerState, Assignment, Assignment]:
    """Layer l is 10 + l everywhere, the heads 0; sizes 2 and 4."""
    made = strategy("inclusivefl", {"step": 2})
    start = rounds.begin(made, adapter(layers=4, fill=10), FOUR)
    small = assignment(0, (0, 1), present=(0, 1), ranks=(2, 2))
    large = assignment(1, (0, 1, 2, 3), layers=4)
    return start, small, large


def firsts(of: Adapter) -> list[float]:
    return [float(pairs["q"].a[0, 0]) for _, pairs in sorted(of.layers.items())]


def test_inclusivefl_shares_all_but_each_sizes_last_layer_and_head() -> None:
    """The small model gains 1, the large one 3, by 10 examples and 30.

    Layer 0 is common: 10 + (10 * 1 + 30 * 3) / 40 = 12.5. Layer 1 is the small one's last: 11 + 1 for it, 11 + 3 for
    the other.
    """
    start, small, large = inclusive()
    made = strategy("inclusivefl", {"step": 2})
    answers = [
        (small, answer(small, made.send(start, small, FOUR), 1.0, examples=10)),
        (large, answer(large, made.send(start, large, FOUR), 3.0, examples=30)),
    ]
    after = made.merge(start, answers, FOUR)
    assert firsts(after.adapter) == [12.5, 14, 15, 16]
    assert firsts(made.send(after, small, FOUR)) == [12.5, 12]
    assert float(after.adapter.head["classifier.weight"][0, 0]) == 3
    assert float(made.send(after, small, FOUR).head["classifier.weight"][0, 0]) == 1


def test_inclusivefl_distills_the_larger_models_update_a_round_later() -> None:
    """Round 1: the large model's layers 1, 2, 3 gain 3 each, so m = 3 (over 4 - 2 + 1 layers). Round 2: the small one's
    last layer gains 0.8 * 1 + 0.2 * 3 = 1.4 in place of 1; its common layer is not touched by it."""
    start, small, large = inclusive()
    made = strategy("inclusivefl", {"step": 2})

    def one_round(state: ServerState, number: int) -> ServerState:
        answers = [
            (a, answer(a, made.send(state, a, FOUR), fill, round=number)) for a, fill in ((small, 1.0), (large, 3.0))
        ]
        return made.merge(state, answers, FOUR)

    first = one_round(start, 1)
    assert {name: np.unique(value).tolist() for name, value in first.memo.items() if name.startswith("momentum")} == {
        "momentum-2.q.a": [3.0],
        "momentum-2.q.b": [3.0],
    }
    second = one_round(first, 2)
    np.testing.assert_allclose(firsts(made.send(second, small, FOUR)), [10 + 2 + 2, 11 + 1 + 1.4], **TOLERANCE)
    np.testing.assert_allclose(firsts(second.adapter), [14, 17, 18, 19], **TOLERANCE)
    alone = made.merge(first, [(small, answer(small, made.send(first, small, FOUR), 1.0))], FOUR)
    assert not any(name.startswith("momentum") for name in alone.memo)


def test_what_is_distilled_is_the_mean_over_the_larger_models_layers_from_the_smaller_ones_last_on() -> None:
    """The large model's layers gain 1, 10, 100, 1000: m = (10 + 100 + 1000) / (4 - 2 + 1) = 370. A round later the small
    one's last layer gains 0.8 * 1 + 0.2 * 370 = 74.8."""
    start, small, large = inclusive()
    made = strategy("inclusivefl", {"step": 2})
    even = answer(large, made.send(start, large, FOUR), 1.0)
    grown = {
        layer: {t: Lora(pair.a * 10**layer, pair.b * 10**layer) for t, pair in pairs.items()}
        for layer, pairs in even.delta.layers.items()
    }
    uneven = replace(even, delta=replace(even.delta, layers=grown))
    first = made.merge(start, [(small, answer(small, made.send(start, small, FOUR), 1.0)), (large, uneven)], FOUR)
    np.testing.assert_allclose(first.memo["momentum-2.q.a"], 370.0)
    second = made.merge(first, [(small, answer(small, made.send(first, small, FOUR), 1.0))], FOUR)
    before, after = (firsts(made.send(state, small, FOUR)) for state in (first, second))
    np.testing.assert_allclose(after[1] - before[1], 0.8 + 0.2 * 370, **TOLERANCE)
    np.testing.assert_allclose(after[0] - before[0], 1.0, **TOLERANCE)


def test_inclusivefl_without_momentum_and_with_one_head_is_fedras_baseline() -> None:
    start, small, large = inclusive()
    made = strategy("inclusivefl", {"step": 2, "momentum": 0.0, "share_head": True})
    start = rounds.begin(made, start.adapter, FOUR)
    for number in (1, 2):
        answers = [
            (a, answer(a, made.send(start, a, FOUR), fill, round=number)) for a, fill in ((small, 1.0), (large, 3.0))
        ]
        start = made.merge(start, answers, FOUR)
    assert firsts(made.send(start, small, FOUR)) == [14, 13]
    assert float(made.send(start, small, FOUR).head["classifier.weight"][0, 0]) == 4
    assert float(start.adapter.head["classifier.weight"][0, 0]) == 4


def test_a_size_nobody_has_this_round_keeps_its_own() -> None:
    start, small, large = inclusive()
    made = strategy("inclusivefl", {"step": 2})
    after = made.merge(start, [(small, answer(small, made.send(start, small, FOUR), 1.0))], FOUR)
    assert firsts(after.adapter) == [11, 11, 12, 13]
    assert (after.adapter.head["classifier.weight"] == 0).all()
    assert firsts(made.send(after, small, FOUR)) == [11, 12]
