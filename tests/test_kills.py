"""The real command line, killed and lied to: four of the hundred kills of benchmarks/kills.py (two at the rename that commits a round, two
at random moments) and four of the fifty damages of benchmarks/damage_commands.py.
"""

import pytest

from benchmarks import damage_commands, kills

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], kills.Trial]:
    """What came of the kills, and a campaign that nobody killed."""
    folder = tmp_path_factory.mktemp("kills")
    return kills.run(4, seed=3, folder=folder), kills.Trial(folder / "whole-0")


def test_a_killed_campaign_ends_as_if_nothing_had_been(killed: tuple[dict[str, object], kills.Trial]) -> None:
    assert killed[0]["same_states_and_exports"] == 4


def test_commands_show_a_damaged_campaign_as_it_was_or_refuse_in_a_line(
    killed: tuple[dict[str, object], kills.Trial],
) -> None:
    whole = killed[1]
    found = list(damage_commands.cases(4, seed=1, originals=[whole], wanted=whole.facts(), verified_every=0))
    assert [case for case in found if any(value.startswith("bad") for value in case.values())] == []
