"""Eq. 19 and its promises."""

import numpy as np
from fleet_of_three import adapter, answer, assignment
from hypothesis import given
from hypothesis import strategies as st

from fedquad.rounds import adapters, aggregate
from fedquad.types import Adapter, Assignment, Update


def merge(
    start: Adapter, answers: list[tuple[Assignment, Update]], weigh: aggregate.Weigh = aggregate.uniform
) -> Adapter:
    return aggregate.mean(start, aggregate.total(start, answers, weigh))


def test_each_layer_moves_by_the_mean_of_its_holders() -> None:
    start = adapter(fill=10)
    top, both = assignment(0, (1,)), assignment(1, (0, 1))
    merged = merge(start, [(top, answer(top, start, 1.0)), (both, answer(both, start, 3.0))])
    assert (merged.layers[0]["q"].a == 10 + 3).all()  # device 1 alone
    assert (merged.layers[1]["q"].a == 11 + 2).all()  # both: (1 + 3) / 2
    assert (merged.head["classifier.weight"] == 2).all()


def test_a_layer_nobody_trained_stays_the_same_array() -> None:
    start = adapter()
    top = assignment(0, (1,))
    merged = merge(start, [(top, answer(top, start, 1.0))])
    assert merged.layers[0]["q"] is start.layers[0]["q"]


def test_no_answers_change_nothing() -> None:
    start = adapter()
    assert adapters.digest(merge(start, [])) == adapters.digest(start)


def test_examples_can_weigh() -> None:
    start = adapter()
    few, many = assignment(0, (1,)), assignment(1, (1,))
    merged = merge(
        start,
        [(few, answer(few, start, 0.0, examples=10)), (many, answer(many, start, 4.0, examples=30))],
        aggregate.by_examples,
    )
    assert (merged.layers[1]["q"].b == 1 + 3).all()


def test_steps_can_weigh() -> None:
    start = adapter()
    few, many = assignment(0, (1,), steps=2), assignment(1, (1,), steps=6)
    answers = [(few, answer(few, start, 0.0)), (many, answer(many, start, 4.0))]
    merged = merge(start, answers, aggregate.by_steps)
    assert (merged.layers[1]["q"].b == 1 + 3).all()
    assert (merged.head["classifier.weight"] == 3).all()


def test_per_length_nobody_pulls_further_for_having_taken_more_steps() -> None:
    """FedNova by its definition, over each layer's own holders: the mean length times the mean of the deltas per length."""
    start = adapter()
    few, many = assignment(0, (0, 1), steps=2), assignment(1, (1,), steps=6)
    answers = [(few, answer(few, start, 1.0)), (many, answer(many, start, 9.0))]
    merged = merge(start, answers, aggregate.per_length(aggregate.uniform))
    np.testing.assert_allclose(merged.layers[0]["q"].a, 1, rtol=1e-6)  # one holder: its own delta
    np.testing.assert_allclose(merged.layers[1]["q"].a, 1 + 4 * (1 / 2 + 9 / 6) / 2, rtol=1e-6)
    np.testing.assert_allclose(merged.head["classifier.weight"], 4 * (1 / 2 + 9 / 6) / 2, rtol=1e-6)
    twice = merge(start, answers[:1] * 2, aggregate.per_length(aggregate.by_steps))
    np.testing.assert_allclose(twice.layers[1]["q"].b, 1 + 1, rtol=1e-6)


def test_rows_of_unequal_ranks_average_over_who_has_them() -> None:
    start = adapter(rank=2)
    narrow, wide = assignment(0, (1,), ranks=(1, 1)), assignment(1, (1,))
    sent = adapters.for_assignment(start, narrow)
    merged = merge(start, [(narrow, answer(narrow, sent, 1.0)), (wide, answer(wide, start, 3.0))])
    assert (merged.layers[1]["q"].a[0] == 1 + 2).all()
    assert (merged.layers[1]["q"].a[1] == 1 + 3).all()
    assert (merged.layers[1]["q"].b[:, 1] == 1 + 3).all()


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=6))
def test_equal_updates_aggregate_to_themselves_whatever_their_number(fills: list[float]) -> None:
    start = adapter()
    fill = fills[0]
    answers = [(a, answer(a, start, fill)) for a in (assignment(i, (0, 1)) for i in range(len(fills)))]
    alone = merge(start, answers[:1])
    np.testing.assert_allclose(merge(start, answers).layers[1]["q"].a, alone.layers[1]["q"].a, rtol=1e-6)


@given(st.permutations([0.1, 0.25, -3.7, 1e-4, 88.0]))
def test_the_mean_does_not_depend_on_who_comes_first_beyond_rounding(fills: list[float]) -> None:
    start = adapter()
    answers = [
        (a, answer(a, start, fill)) for a, fill in ((assignment(i, (0, 1)), fill) for i, fill in enumerate(fills))
    ]
    expected = 1 + np.mean([0.1, 0.25, -3.7, 1e-4, 88.0])
    np.testing.assert_allclose(merge(start, answers).layers[1]["q"].a, expected, rtol=1e-6)


def test_holders_that_weigh_nothing_leave_a_layer_as_it_is() -> None:
    start, both = adapter(fill=10), assignment(0, (0, 1))
    nothing = aggregate.Weights(layers={0: 0.0, 1: 1.0}, head=1.0)
    totals = aggregate.total(start, [(both, answer(both, start, 3.0))], lambda assignment, report: nothing)
    for merged in (aggregate.mean(start, totals), aggregate.zero_padded(start, totals)):
        assert (merged.layers[0]["q"].a == 10).all()
        assert (merged.layers[1]["q"].a == 11 + 3).all()
