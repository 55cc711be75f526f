"""With equal devices that hold every layer, most methods are FedLoRA: one round gives the same adapter."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import tiny
from pretend import LAYERS, device, everyone, fleet, run

from fedquad import discover
from fedquad.learn import loop
from fedquad.rounds import adapters
from fedquad.rounds import round as rounds
from fedquad.spec import TrainingSpec
from fedquad.types import Adapter, Assignment, Update

SAME: dict[str, dict[str, object]] = {
    "fedquad": {},
    "fedquad_wo_qd": {},
    "fedra": {},
    "inclusivefl": {"step": 12},
    "layersel": {},
    "hetlora": {"least": 1.0, "most": 1.0, "gamma": 1.0, "weighting": "uniform"},
    "legend": {"spread": 0.0, "theta": 9.0},
}


def one_round(method: str, master: Adapter, answer: Callable[[Assignment, Adapter, int], Update]) -> Adapter:
    made, known = discover.strategy(method, SAME.get(method, {})), everyone(3, memory_policy="flag")
    start = rounds.begin(made, master, known)
    planned, _, outcome = run(made, start, fleet(LAYERS, LAYERS, LAYERS), known, answer)
    assert [a.trained for a in planned.assignments] == [tuple(range(LAYERS))] * 3
    return made.view(outcome.state, known)


def assert_same(found: Adapter, wanted: Adapter, tolerance: float) -> None:
    ours, plain = adapters.flatten(found), adapters.flatten(wanted)
    assert set(ours) == set(plain)
    for name, array in plain.items():
        np.testing.assert_allclose(ours[name], array, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("method", SAME)
def test_a_round_of_equal_devices_is_fedloras(method: str) -> None:
    from fleet_of_three import layout

    master = adapters.initial(layout(layers=LAYERS), 8, seed=0)
    assert_same(one_round(method, master, device), one_round("fedlora", master, device), 1e-7)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Adapter]:
    """One round of a method, really trained: three devices, twelve layers, two steps each."""
    trainee = tiny.a_trainee(tmp_path_factory.mktemp("model"), layers=LAYERS, rank=8)
    master = adapters.initial(trainee.layout, 8, seed=0)
    spec = TrainingSpec(batch=4)

    def answer(assignment: Assignment, sent: Adapter, number: int) -> Update:
        shard = tiny.examples(8, seed=assignment.device)
        key = (0, 0, number, assignment.device)
        short = assignment if not assignment.steps else replace(assignment, steps=2)
        done = loop.train(
            trainee, short, sent, shard, training=spec, key=key, round=number, based_on=adapters.digest(sent)
        )
        assert done.report.failure == ""
        return done

    return lambda method: one_round(method, master, answer)


@pytest.mark.parametrize("method", SAME)
def test_a_round_of_equal_devices_is_fedloras_in_the_real_trainer(
    method: str, trained: Callable[[str], Adapter]
) -> None:
    assert_same(trained(method), trained("fedlora"), 1e-6)
