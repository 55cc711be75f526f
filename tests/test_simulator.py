"""A thousand rounds in the simulator with every kind of fault; and the simulator finds what it is there to find."""

import inspect
import random
from typing import Any

import pytest
from simulator import Broken, Simulation

from fedquad.rounds import bounds, ledger
from fedquad.rounds import round as rounds
from tasks import round as sequence

ROUNDS = 1000


def test_a_thousand_rounds_of_faults_break_nothing() -> None:
    seed, played, compared, stops = 0, 0, 0, 0
    while played < ROUNDS:
        simulation = Simulation(seed)
        played += simulation.run()
        compared, stops, seed = compared + simulation.clean, stops + simulation.stops, seed + 1
    assert compared > ROUNDS / 2  # the states that were compared with those without faults
    assert stops > ROUNDS / 2  # kills and full disks on the way


def test_one_seed_is_one_history() -> None:
    first, again, other = (Simulation(seed) for seed in (11, 11, 12))
    for simulation in (first, again, other):
        simulation.run()
    assert first.store.digests == again.store.digests != other.store.digests


@pytest.mark.parametrize("fault", ["kill", "full", "twice"])
def test_what_loses_nothing_changes_nothing(fault: str) -> None:
    """Kills, full disks and second answers: the states are those of a run without."""
    compared = 0
    for seed in range(20):
        clean, disturbed = Simulation(seed, faults=False), Simulation(seed, faults=False)
        disturbed.odds, disturbed.dice = {fault: 0.3}, random.Random(seed)
        clean.run()
        disturbed.run()
        assert disturbed.store.digests == clean.store.digests
        compared += len(clean.store.digests)
    assert compared > 40


MUTANTS: list[tuple[Any, str, str, str]] = [
    (rounds, "finish_round", ">= quorum * plan.size", "> quorum * plan.size"),
    (rounds, "_next", "round=plan.round,", "round=plan.round + 1,"),
    (sequence, "play", "if outcome.is_quorate:", "if outcome.answered:"),
    (bounds, "beyond_absolute", "if not measured[", "if not 0 * measured["),
    (ledger.Ledger, "answers", "for one in self.accepted}", "for one in self.accepted[1:]}"),
    (ledger.Ledger, "read", "self._leave_out(assignment.device, update.report.failure, update.is_refused)", "pass"),
]


@pytest.mark.parametrize(("owner", "name", "right", "wrong"), MUTANTS, ids=lambda value: str(value)[:24])
def test_a_fault_of_ours_is_found(
    owner: Any, name: str, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(owner, name)
    source = inspect.getsource(original)
    assert right in source
    changed: dict[str, Any] = {}
    exec(inspect.cleandoc("\n" + source.replace(right, wrong)), original.__globals__, changed)
    monkeypatch.setattr(owner, name, changed[name])
    if name == "play":
        monkeypatch.setattr("simulator.play", changed[name])
    with pytest.raises(Broken):
        play_many()


def play_many() -> None:
    for seed in range(1_000):
        Simulation(seed).run()
