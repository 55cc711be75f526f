"""Methods plan in the devices' own seconds: what was measured corrects what is predicted, one pace a device."""

from dataclasses import replace

import numpy as np
import pytest
from pretend import COST, begin, device, everyone, fleet, run

from fedquad.discover import strategy
from fedquad.prices.cost import estimate
from fedquad.rounds import pace
from fedquad.types import Adapter, Assignment, CostEstimate, ServerState, Update

DEPTHS = (3, 5, 8, 12)
THERE = fleet(*DEPTHS)
KNOWN = everyone(len(DEPTHS))


def costing(compute: float, communication: float = 0.0) -> CostEstimate:
    return CostEstimate(
        compute_seconds=compute,
        communication_seconds=communication,
        peak_bytes=0,
        upload_bytes=0,
        download_bytes=0,
        joules=0.0,
    )


def taking(factor: float | dict[int, float]):
    """Devices that take so many times what the board's data say."""

    def answer(assignment: Assignment, sent: Adapter, number: int) -> Update:
        done = device(assignment, sent, number)
        times = factor[assignment.device] if isinstance(factor, dict) else factor
        seconds = times * estimate(assignment, COST, THERE[assignment.device]).seconds
        return replace(done, report=replace(done.report, seconds=seconds))

    return answer


def after(method: str, factor: float | dict[int, float], count: int) -> tuple[list[tuple[int, int]], ServerState]:
    """Who was given what in the last of some rounds, and the state after it."""
    made = strategy(method)
    state = begin(made, KNOWN)
    for _ in range(count):
        planned, _, outcome = run(made, state, THERE, KNOWN, taking(factor))
        state = outcome.state
    return [(len(a.trained), len(a.quantized)) for a in planned.assignments], state


@pytest.mark.parametrize("method", ["fedquad", "fedquad:deadline", "fedquad_wo_qd", "legend"])
@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_a_fleet_that_is_all_faster_or_slower_than_its_boards_say_is_given_the_same(method: str, factor: float) -> None:
    assert after(method, factor, 4)[0] == after(method, 1.0, 4)[0]


def test_one_device_that_is_slower_than_its_board_says_is_given_less() -> None:
    honest, _ = after("fedquad", 1.0, 4)
    slowed, state = after("fedquad", {0: 1.0, 1: 1.0, 2: 3.0, 3: 1.0}, 4)
    assert slowed[2][0] < honest[2][0]
    np.testing.assert_allclose(state.pace, [1, 1, 3, 1])


def test_estimates_are_in_the_devices_own_seconds_from_the_second_round_on() -> None:
    made = strategy("fedlora")
    state = begin(made, KNOWN)
    for expected in (1.0, 4.0):
        planned, _, outcome = run(made, state, THERE, KNOWN, taking(4.0))
        for a, price in planned.asked:
            assert price.seconds == pytest.approx(expected * estimate(a, COST, THERE[a.device]).seconds)
        state = outcome.state


def test_the_first_measurement_counts_whole_and_later_ones_a_fifth() -> None:
    known = pace.after(np.array([np.nan, np.nan]), [(costing(10), 20.0, 0)])
    np.testing.assert_array_equal(known, [2.0, np.nan])
    # Predicted at pace 2, so 10 predicted and 20 taken is a pace of 4: 0.8 * 2 + 0.2 * 4.
    np.testing.assert_allclose(pace.after(known, [(costing(10), 20.0, 0)]), [2.4, np.nan])


def test_transfers_are_no_part_of_the_pace() -> None:
    assert pace.after(np.array([np.nan]), [(costing(10, communication=5), 25.0, 0)])[0] == pytest.approx(2.0)
    assert pace.after(np.array([np.nan]), [(costing(16, communication=5), 4.0, 0)])[0] == pytest.approx(1 / 16)


def test_a_device_that_has_shown_nothing_is_taken_to_be_as_the_fleet_usually_is() -> None:
    known = np.array([np.nan, 2.0, 3.0, 40.0])
    np.testing.assert_array_equal(pace.assumed(known), [3.0, 2.0, 3.0, 40.0])
    own = pace.in_own_seconds(THERE, known)
    np.testing.assert_allclose(THERE.flops / own.flops, [3, 2, 3, 40])
    assert pace.in_own_seconds(THERE, np.full(4, np.nan)) is THERE
    # ... and its first measurement is of what it was predicted at: 3 times the board's.
    assert pace.after(known, [(costing(10), 10.0, 0)])[0] == pytest.approx(3.0)


def test_a_device_that_failed_has_shown_nothing() -> None:
    made = strategy("fedlora")

    def failing(assignment: Assignment, sent: Adapter, number: int) -> Update:
        done = taking(2.0)(assignment, sent, number)
        return replace(done, report=replace(done.report, failure="it fell")) if assignment.device == 1 else done

    _, _, outcome = run(made, begin(made, KNOWN), THERE, KNOWN, failing)
    np.testing.assert_allclose(outcome.state.pace, [2, np.nan, 2, 2])
