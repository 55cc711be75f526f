import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedquad.rounds.clock import barrier

seconds = st.lists(st.floats(0, 1e5), min_size=1, max_size=20)


def test_a_round_lasts_until_its_last_answer_and_the_others_wait() -> None:
    timing = barrier([10.0, 40.0, 25.0], [True, True, True])
    assert timing.round_seconds == 40
    assert timing.mean_seconds == 25
    assert timing.mean_wait_seconds == 15  # ((40 - 10) + 0 + (40 - 25)) / 3, Eq. 13


def test_a_silent_device_holds_the_round_up_but_is_no_part_of_the_mean() -> None:
    timing = barrier([10.0, 40.0], [True, False])
    assert (timing.round_seconds, timing.mean_seconds, timing.mean_wait_seconds) == (40, 10, 30)


def test_a_round_of_nobody_takes_no_time() -> None:
    assert barrier([], []).round_seconds == 0
    assert barrier([5.0], [False]).mean_wait_seconds == 0


@given(seconds)
def test_waiting_is_the_gap_between_the_last_and_the_mean(times: list[float]) -> None:
    timing = barrier(times, [True] * len(times))
    assert timing.mean_wait_seconds == pytest.approx(np.mean([max(times) - t for t in times]), abs=1e-6)
    assert timing.mean_wait_seconds >= -1e-9
