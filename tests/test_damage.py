"""Whatever happens to a campaign's files, it comes to the same bits or is refused in one line; `python -m benchmarks.damage` does many more."""

from collections import Counter

import pytest

from benchmarks import damage

CASES = 240


def test_damaged_campaigns_are_recovered_or_refused_in_a_line() -> None:
    found = damage.cases(CASES, seed=0)
    bad = [row for row in found if any(outcome.startswith(("silent", "other")) for outcome in row[2:])]
    assert bad == []
    resumed = Counter(row[3] for row in found)
    assert resumed["recovered"] > CASES / 4
    assert resumed["refused"] > CASES / 8
    assert {row[0] for row in found} == set(damage.KINDS), "a kind was never drawn"


@pytest.mark.parametrize("number", [1422, 1823, 2663, 6341, 7106, 7593, 9825])
def test_what_ten_thousand_cases_once_found_stays_mended(number: int) -> None:
    ((*_, shown, resumed),) = damage.cases(1, seed=1, first=number)
    assert {shown.partition(":")[0], resumed.partition(":")[0]} <= {"recovered", "refused", "believed"}
