"""Every method on every objective: two rounds of three tiny devices, trained for real and merged, one with INT8 layers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pretend import fleet, run
from test_objectives import COLUMNS, ROWS, Ready

from fedquad import discover
from fedquad.learn import loop
from fedquad.learn.evaluate import evaluate
from fedquad.prices.cost import cost_model, estimate
from fedquad.rounds import adapters
from fedquad.rounds import round as rounds
from fedquad.spec import CostSpec, TrainingSpec
from fedquad.types import Adapter, Assignment, Update

TRAINING = TrainingSpec(steps=2, batch=8, learning_rate=1e-2)
DEPTHS = (1.5, 2.2, 3.5)  # memory for so many layers; the first is the fastest, and has time for more in INT8
SHARDS = np.arange(ROWS).reshape(3, -1)


@pytest.fixture(scope="module", params=sorted(COLUMNS))
def ready(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ready:
    return Ready(request.param, tmp_path_factory.mktemp(request.param), greatest_rank=16)


@pytest.mark.parametrize("method", discover.strategies())
def test_every_method_trains_and_merges_under_every_objective(method: str, ready: Ready) -> None:
    trainee, made = ready.trainee, discover.strategy(method)
    cost = cost_model(trainee.layout.shape, trainee.spec, TRAINING, CostSpec(), trainee.layout.labels, head_cost=ready.objective.head)  # fmt: skip
    known = rounds.World(
        layers=3,
        rank=trainee.spec.rank,
        cost=cost,
        training=TRAINING,
        examples=np.full(3, SHARDS.shape[1]),
        rounds=2,
        memory_policy=made.memory_policy,
    )
    there = fleet(*DEPTHS, cost=cost)
    quantized = 0

    def answer(assignment: Assignment, sent: Adapter, number: int) -> Update:
        nonlocal quantized
        quantized += len(assignment.quantized)
        shard, key = ready.splits["train"].rows(SHARDS[assignment.device]), (0, 0, number, assignment.device)
        based_on = adapters.digest(sent)
        done = loop.train(trainee, assignment, sent, shard, training=TRAINING, key=key, round=number, based_on=based_on)
        assert done.report.failure == ""
        seconds = estimate(assignment, cost, there[assignment.device]).seconds
        return replace(done, report=replace(done.report, seconds=seconds))

    state: Any = rounds.begin(made, adapters.initial(trainee.layout, made.greatest_rank(4), seed=0), known)
    for _ in range(2):
        planned, _, outcome = run(made, state, there, known, answer)
        assert planned.assignments
        assert outcome.failures == {}
        state = outcome.state
    assert (quantized > 0) == (method in ("fedquad", "fedquad_wo_ld"))
    view = made.view(state, known)
    assert adapters.digest(view) != adapters.digest(made.view(rounds.begin(made, adapters.initial(trainee.layout, made.greatest_rank(4), seed=0), known), known))  # fmt: skip
    counted = evaluate(trainee, view, ready.splits["test"], 0, ROWS, 16)
    assert all(np.isfinite(value) for value in ready.objective.score(counted.sums).values())
