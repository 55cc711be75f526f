"""What every method promises, for each that discovery finds, in each variant, with strict memory forced."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pretend import LAYERS, METHODS, begin, everyone, fleet, plan, run

from fedquad.discover import strategy
from fedquad.rounds import adapters, facts
from fedquad.rounds import round as rounds
from fedquad.store.arm import ArmFolder
from fedquad.types import Adapter, ServerState

KNOWN = everyone(6)
DEPTHS = (2, 5, 6, 9, 12, 12)


def after(method: str, count: int) -> ServerState:
    """The state after some rounds on the same fleet."""
    made = strategy(method)
    state = begin(made, KNOWN)
    for _ in range(count):
        state = run(made, state, fleet(*DEPTHS), KNOWN)[2].state
    return state


def values(adapter: Adapter) -> dict[str, np.ndarray]:
    return dict(adapters.flatten(adapter))


@pytest.mark.parametrize("method", METHODS)
def test_the_same_state_and_randomness_give_the_same_plan(method: str) -> None:
    for count in (0, 1):
        state = after(method, count)
        first, second = (plan(strategy(method), state, fleet(*DEPTHS), KNOWN) for _ in range(2))
        assert first.assignments == second.assignments
        assert first.size > 0


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=10)
@given(depths=st.lists(st.floats(0.5, 13), min_size=6, max_size=6), count=st.integers(0, 2))
def test_every_assignment_fits_its_device(method: str, depths: list[float], count: int) -> None:
    made, there = strategy(method), fleet(*depths)
    state = replace(begin(made, KNOWN), round=count, mean_seconds=float(5 * count))
    planned = plan(made, state, there, KNOWN)
    for asked, estimate in (*planned.asked, *((probe.assignment, probe.estimate) for probe in planned.survey)):
        assert estimate.peak_bytes <= there.memory_bytes[asked.device]
    if made.memory_policy == "strict":
        assert planned.over_memory == ()


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_arrival_never_changes_a_bit(method: str) -> None:
    made, state = strategy(method), after(method, 1)

    def shuffled(devices: list[int]) -> list[int]:
        return random.Random(3).sample(devices, len(devices))

    ends = [run(made, state, fleet(*DEPTHS), KNOWN, arrival=order)[2].state for order in (list, reversed, shuffled)]
    assert len({facts.state_digest(end) for end in ends}) == 1


@pytest.mark.parametrize("method", METHODS)
def test_one_full_device_alone_gives_back_its_own_adapter(method: str) -> None:
    made, known = strategy(method), everyone(1)
    state = begin(made, known)
    planned, answers, outcome = run(made, state, fleet(2 * LAYERS), known)
    assert planned.assignments[0].trained == tuple(range(LAYERS))
    sent, delta = values(made.send(state, planned.assignments[0], known)), values(answers[0].delta)
    assert set(sent) == set(delta)
    merged = values(made.view(outcome.state, known))
    for name, start in sent.items():
        np.testing.assert_allclose(merged[name], start + delta[name], rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_layers_nobody_trained_come_back_bit_identical(method: str) -> None:
    made, state = strategy(method), after(method, 1)
    planned, _, outcome = run(made, state, fleet(2, 3, 4, 4, 3, 2), KNOWN)
    trained = {layer for a, _ in planned.asked for layer in a.trained}
    for layer in set(range(LAYERS)) - trained:
        for target, pair in state.adapter.layers[layer].items():
            after_round = outcome.state.adapter.layers[layer][target]
            assert after_round.a.tobytes() == pair.a.tobytes()
            assert after_round.b.tobytes() == pair.b.tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_a_round_that_was_stored_goes_on_as_if_it_never_was(method: str, tmp_path: Path) -> None:
    made, state = strategy(method), after(method, 0)
    there = fleet(*DEPTHS)
    arm = ArmFolder(tmp_path).begin(
        {"label": "a", "method": method, "params": {}, "seed": 0, "digests": {}, "inputs": {}}
    )
    for _ in range(2):
        planned, _, outcome = run(made, state, there, KNOWN)
        scores = facts.Scores(score=0.5, loss=1.0, validation_score=0.5, validation_loss=1.0)
        arm.commit(outcome.state, facts.round_facts(planned, outcome, there, scores, {}).to_json())
        state = outcome.state
    stored = ArmFolder(tmp_path).open().latest()
    assert stored is not None
    assert {name: type(value) for name, value in stored.memo.items()} == {
        name: type(value) for name, value in outcome.state.memo.items()
    }
    ends = [run(made, start, there, KNOWN)[2].state for start in (outcome.state, stored)]
    assert facts.state_digest(ends[0]) == facts.state_digest(ends[1])


@pytest.mark.parametrize("method", METHODS)
def test_what_is_handed_out_has_every_layer_and_one_head(method: str) -> None:
    made, state = strategy(method), after(method, 1)
    view = made.view(state, KNOWN)
    assert list(view.layers) == list(range(LAYERS))
    assert set(view.head) == set(state.adapter.head)


@pytest.mark.parametrize("method", METHODS)
def test_nobody_answering_changes_nothing_that_is_handed_out(method: str) -> None:
    made, state = strategy(method), after(method, 1)
    assert adapters.digest(made.view(made.merge(state, (), KNOWN), KNOWN)) == adapters.digest(made.view(state, KNOWN))
    empty = rounds.plan_round(made, state, replace(fleet(*DEPTHS), available=np.zeros(6, bool)), KNOWN, seed=0)
    assert empty.assignments == ()
