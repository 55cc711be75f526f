"""Four of the hundred kills of benchmarks/kills.py: two at the rename that commits a round, two at random moments."""

from pathlib import Path

import pytest

from benchmarks import kills

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]


def test_a_killed_campaign_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    found = kills.run(4, seed=3, folder=tmp_path)
    assert found["same_states_and_exports"] == 4
