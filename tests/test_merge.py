"""The pieces of merging: weights, subsets of layers, unequal ranks, padding, and one scale for all ranks."""

import math

import numpy as np
import pytest
from fleet_of_three import adapter, answer, assignment
from hypothesis import given
from hypothesis import strategies as st

from fedquad.rounds import adapters, aggregate
from fedquad.rounds.aggregate import Totals, Weigh, Weights
from fedquad.types import Adapter, Assignment, Lora, Update

WEIGHTS = [aggregate.uniform, aggregate.by_examples, aggregate.by_lora_norm]
Answers = list[tuple[Assignment, Update]]


def drawn(seed: int, start: Adapter, holders: list[tuple[int, ...]], ranks: list[int]) -> Answers:
    """Answers of devices that trained these layers at these ranks, deltas drawn."""
    draw = np.random.default_rng(seed)
    answers = []
    for device, (layers, rank) in enumerate(zip(holders, ranks)):
        asked = assignment(device, layers, layers=len(start.layers), rank=rank)
        update = answer(
            asked,
            adapters.for_assignment(start, asked),
            0.0,
            examples=int(draw.integers(1, 50)),
            lora_norm=draw.uniform(0, 2),
        )
        for pairs in update.delta.layers.values():
            for pair in pairs.values():
                pair.a[:], pair.b[:] = draw.normal(size=pair.a.shape), draw.normal(size=pair.b.shape)
        answers.append((asked, update))
    return answers


fleets = st.integers(1, 5).flatmap(
    lambda n: st.tuples(
        st.integers(0, 2**32),
        st.lists(st.sets(st.integers(0, 2)).map(lambda s: tuple(sorted(s))), min_size=n, max_size=n),
        st.lists(st.integers(1, 4), min_size=n, max_size=n),
    )
)


@pytest.mark.parametrize("weigh", WEIGHTS)
@given(fleet=fleets)
def test_a_merge_is_the_weighted_mean_over_the_holders_of_each_row(
    weigh: Weigh, fleet: tuple[int, list[tuple[int, ...]], list[int]]
) -> None:
    """Against the definition, row by row."""
    start = adapter(layers=3, rank=4)
    answers = drawn(fleet[0], start, fleet[1], fleet[2])
    merged = aggregate.mean(start, aggregate.total(start, answers, weigh))
    padded = aggregate.zero_padded(start, aggregate.total(start, answers, weigh))
    for layer, row in np.ndindex(3, 4):
        held = [
            (weigh(a, u.report).layers[layer], u.delta.layers[layer]["q"]) for a, u in answers if layer in a.trained
        ]
        of_row = [(w, pair) for w, pair in held if pair.rank > row]
        before = start.layers[layer]["q"].a[row]
        mean = sum(w * pair.a[row] for w, pair in of_row) / sum(w for w, _ in of_row) if of_row else 0.0
        np.testing.assert_allclose(merged.layers[layer]["q"].a[row], before + mean, rtol=1e-5, atol=1e-5)
        whole = sum(w * (before + pair.a[row]) for w, pair in of_row) / sum(w for w, _ in held) if held else before
        np.testing.assert_allclose(padded.layers[layer]["q"].a[row], whole, rtol=1e-5, atol=1e-5)


@given(fleet=fleets, order=st.randoms())
def test_who_answers_first_matters_only_to_rounding(
    fleet: tuple[int, list[tuple[int, ...]], list[int]], order: "st.randoms"
) -> None:
    start = adapter(layers=3, rank=4)
    answers = drawn(fleet[0], start, fleet[1], fleet[2])
    shuffled = order.sample(answers, len(answers))  # type: ignore[attr-defined]
    one, other = (
        adapters.flatten(aggregate.zero_padded(start, aggregate.total(start, each, aggregate.by_lora_norm)))
        for each in (answers, shuffled)
    )
    for name, array in one.items():
        np.testing.assert_allclose(other[name], array, rtol=1e-5, atol=1e-6)


@given(fleet=fleets, rank=st.integers(1, 4))
def test_at_equal_ranks_padding_changes_nothing(fleet: tuple[int, list[tuple[int, ...]], list[int]], rank: int) -> None:
    start = adapter(layers=3, rank=4)
    answers = drawn(fleet[0], start, fleet[1], [4] * len(fleet[1]))
    totals = aggregate.total(start, answers, aggregate.uniform)
    mean, padded = (adapters.flatten(each(start, totals)) for each in (aggregate.mean, aggregate.zero_padded))
    for name, array in mean.items():
        np.testing.assert_allclose(padded[name], array, rtol=1e-5, atol=1e-6)


def test_padding_a_truncation_keeps_the_first_rows_and_clears_the_rest() -> None:
    """pad(trunc(x)) = x on the first r rows: layer 0 is 5 everywhere, one device of rank 1 trained it and changed nothing."""
    start = adapter(layers=1, rank=3, fill=5)
    asked = assignment(0, (0,), layers=1, rank=1)
    answers = [(asked, answer(asked, adapters.for_assignment(start, asked), 0.0))]
    padded = aggregate.zero_padded(start, aggregate.total(start, answers, aggregate.uniform))
    assert padded.layers[0]["q"].a[:, 0].tolist() == [5, 0, 0]
    assert padded.layers[0]["q"].b[0].tolist() == [5, 0, 0]


def test_norms_weigh_and_where_all_are_zero_everyone_counts_the_same() -> None:
    start = adapter(layers=2)
    asked = [assignment(i, (1,)) for i in range(2)]
    for norms, wanted in (((1.0, 3.0), 1 + 0.25 * 4 + 0.75 * 8), ((0.0, 0.0), 1 + 6), ((0.0, 3.0), 1 + 8)):
        answers = [(a, answer(a, start, fill, lora_norm=norm)) for a, fill, norm in zip(asked, (4.0, 8.0), norms)]
        merged = aggregate.mean(start, aggregate.total(start, answers, aggregate.by_lora_norm))
        assert (merged.layers[1]["q"].a == wanted).all()
        assert (merged.head["classifier.weight"] == 6).all()


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**32))
def test_the_norm_by_traces_is_the_dense_one(rank: int, width: int, seed: int) -> None:
    """|B A|_F^2 = tr(B'B A A'): what a device reports is never computed from B A (fedquad/learn/work.py)."""
    from fedquad.learn.work import norm_of

    draw = np.random.default_rng(seed)
    pairs = {
        name: Lora(draw.normal(size=(rank, width)).astype(np.float32), draw.normal(size=(3, rank)).astype(np.float32))
        for name in "qv"
    }
    dense = np.sqrt(sum(np.sum((p.b.astype(np.float64) @ p.a.astype(np.float64)) ** 2) for p in pairs.values()))
    assert math.sqrt(sum(norm_of(pair.a, pair.b) for pair in pairs.values())) == pytest.approx(dense, rel=1e-9)


def test_weights_can_be_kept_within_some_layers_and_off_the_head() -> None:
    weights = Weights(layers={0: 1.0, 1: 2.0}, head=3.0)
    assert aggregate.within(weights, range(1)) == Weights(layers={0: 1.0}, head=3.0)
    assert aggregate.within(weights, [1, 7], has_head=False) == Weights(layers={1: 2.0}, head=0.0)


def test_two_sums_over_disjoint_layers_merge_to_the_sum_over_all() -> None:
    start = adapter(layers=3, rank=4)
    answers = drawn(5, start, [(0, 1, 2), (1, 2), (0,)], [4, 2, 3])
    low, high = Totals(), Totals()
    for asked, update in answers:
        weights = aggregate.by_examples(asked, update.report)
        low.add(start, update.delta, aggregate.within(weights, [0, 1]))
        high.add(start, update.delta, aggregate.within(weights, [2], has_head=False))
    at_once = aggregate.mean(start, aggregate.total(start, answers, aggregate.by_examples))
    in_two = aggregate.mean(aggregate.mean(start, low), high)
    assert adapters.digest(in_two) == adapters.digest(at_once)


def test_a_mean_delta_moves_a_layer_as_the_mean_does() -> None:
    start = adapter(layers=3, rank=4)
    totals = aggregate.total(start, drawn(6, start, [(0, 2), (2,)], [4, 4]), aggregate.uniform)
    by_delta = aggregate.moved(start.layers[2], aggregate.mean_delta(totals, 2))
    np.testing.assert_array_equal(by_delta["q"].a, aggregate.mean(start, totals).layers[2]["q"].a)


@given(st.integers(1, 8), st.integers(0, 2**32))
def test_one_scale_makes_a_truncation_the_same_function_and_a_padding_no_other(rank: int, seed: int) -> None:
    """dW = alpha/r0 B A for every rank. With alpha/r a factor cut to rank r would be scaled by r0/r more."""
    draw = np.random.default_rng(seed)
    b, a, scale = draw.normal(size=(5, 8)), draw.normal(size=(8, 6)), 16 / 8
    whole = Adapter(layers={0: {"q": Lora(a.astype(np.float32), b.astype(np.float32))}}, head={})
    cut = adapters.cut(whole, [0], [rank]).layers[0]["q"]
    terms = sum(scale * np.outer(b[:, row], a[row]) for row in range(rank))
    np.testing.assert_allclose(scale * cut.b @ cut.a, terms, rtol=1e-4, atol=1e-4)
    padded_a, padded_b = np.zeros((8, 6)), np.zeros((5, 8))
    padded_a[:rank], padded_b[:, :rank] = cut.a, cut.b
    np.testing.assert_allclose(scale * padded_b @ padded_a, terms, rtol=1e-4, atol=1e-4)


def test_one_update_is_in_memory_at_a_time() -> None:
    """A stream of updates is never gathered: each is gone before the one after the next is made."""
    import weakref

    start, alive, most = adapter(layers=2), [], 0

    def stream() -> "Answers":
        nonlocal most
        for device in range(50):
            asked = assignment(device, (0, 1))
            update = answer(asked, start, 1.0)
            alive.append(weakref.ref(update.delta.layers[0]["q"].a))
            most = max(most, sum(ref() is not None for ref in alive))
            yield asked, update

    totals = aggregate.total(start, stream(), aggregate.uniform)
    assert totals.updates == 50
    assert most <= 2
