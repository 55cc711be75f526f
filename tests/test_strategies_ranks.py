"""HetLoRA and LEGEND, which vary the rank, in numbers that can be checked by hand."""

from dataclasses import replace

import numpy as np
from fleet_of_three import answer, pricing
from pretend import begin, everyone, fleet, plan, planned, run

from fedquad.discover import strategy
from fedquad.rounds import adapters
from fedquad.strategies import hetlora, legend
from fedquad.types import Adapter, Assignment, Update


def test_hetloras_ranks_grow_with_memory() -> None:
    """L = 24: k = 4 -> 2, k = 14 -> 9, k = 24 -> 16: round(2 + (k - 4) / 20 * 14)."""
    assert list(hetlora.ranks_of(np.array([1, 4, 7, 14, 21, 24]), 24, 2, 16)) == [2, 2, 4, 9, 14, 16]
    assert list(hetlora.ranks_of(np.array([2, 7, 12]), 12, 2, 16)) == [2, 9, 16]


def test_hetlora_trains_the_top_layers_at_the_devices_rank_and_may_prune_to_the_least() -> None:
    for depth, a in zip((2, 7, 12), planned("hetlora", 2, 7, 12)):
        (rank,) = set(a.ranks)
        assert a.trained == tuple(range(12 - depth, 12))
        assert rank == {2: 2, 7: 9, 12: 16}[depth]
        assert set(a.least_ranks) == {2}
        assert (a.local.tail_penalty, a.local.tail_keep) == (1e-3, 0.9)


def test_hetlora_gives_up_rank_before_depth_where_memory_is_short() -> None:
    """The paper's memory has no slack for ranks above the campaign's."""
    cost = pricing()
    tight = replace(cost, bytes=replace(cost.bytes, lowest=0, lowest_quantized=0))
    (a,) = planned("hetlora", 12, cost=tight)
    assert len(a.trained) == 12
    assert set(a.ranks) == {8}


def test_hetlora_as_published_trains_every_layer_and_counts_what_does_not_fit() -> None:
    made, known = strategy("hetlora:ignore"), everyone(3, memory_policy="flag")
    done = plan(made, begin(made, known), fleet(0.5, 5, 12), known)
    assert [len(a.trained) for a in done.assignments] == [12, 12, 12]
    assert done.over_memory == (0, 1)


def test_without_a_tail_there_is_neither_penalty_nor_pruning() -> None:
    (a,) = planned("hetlora", 6, gamma=1.0)
    assert a.least_ranks == ()
    assert a.local.tail_penalty == 0


def test_a_pruned_device_keeps_its_smaller_rank() -> None:
    made, known = strategy("hetlora"), everyone(2)
    start = begin(made, known)

    def pruning(assignment: Assignment, sent: Adapter, number: int) -> Update:
        if assignment.device:
            return answer(assignment, sent, 0.0)
        pruned = answer(assignment, adapters.cut(sent, sent.layers, [14] * 12), 0.0)
        return replace(pruned, based_on=adapters.digest(sent))

    _, _, outcome = run(made, start, fleet(12, 12), known, pruning)
    assert outcome.failures == {}
    assert list(outcome.state.memo["rank_caps"]) == [14, 16]
    again = plan(made, outcome.state, fleet(12, 12), known).assignments
    assert [set(a.ranks) for a in again] == [{14}, {16}]


def test_legends_ranks_grow_towards_the_output_around_the_campaigns() -> None:
    assert list(legend.rank_distribution(12, 8, 0.5)) == [4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11, 12]
    assert list(legend.rank_distribution(3, 8, 0.0)) == [8, 8, 8]
    assert list(legend.rank_distribution(1, 8, 0.5)) == [8]


def test_legend_shortens_the_slowest_until_the_waiting_is_short_enough() -> None:
    """Seconds are depth times 1, 1 and 4. Depths 4, 4, 4: 4, 4, 16, mean 8, waiting 8 > 4. At 3: 12, mean 6.7, 5.3 > 4;
    at 2: 8, mean 5.3, waiting 2.7."""
    table = np.arange(5)[None, :] * np.array([1.0, 1, 4])[:, None]
    assert list(legend.shorten(table, np.array([4, 4, 4]), 0.5, 8.0)) == [4, 4, 2]
    assert list(legend.shorten(table, np.array([4, 4, 4]), 2.0, 8.0)) == [4, 4, 4]
    assert list(legend.shorten(table, np.array([4, 4, 4]), 0.0, 8.0)) == [4, 4, 1]


def test_legend_hands_out_its_own_ranks() -> None:
    made, known = strategy("legend"), everyone(1)
    handed = made.view(begin(made, known), known)
    assert adapters.ranks(handed) == dict(enumerate(legend.rank_distribution(12, 8, 0.5)))


def test_legends_ranks_above_the_campaigns_cost_depth_where_memory_is_short() -> None:
    cost = pricing()
    tight = replace(cost, bytes=replace(cost.bytes, lowest=0, lowest_quantized=0))
    assert len(planned("legend", 6)[0].trained) == 6
    assert len(planned("legend", 6, cost=tight)[0].trained) == 5
