"""Every method learns: a short federated training of the embedded backbone, for real but for the clock."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pretend import METHODS, fleet, run

from fedquad import discover
from fedquad.fleets.partition import partition
from fedquad.learn import evaluate, loop, model, tokens
from fedquad.learn.model import Trainee
from fedquad.learn.tokens import Encoded
from fedquad.objectives import classification
from fedquad.prices.cost import CostModel, cost_model, estimate
from fedquad.rounds import adapters, bounds
from fedquad.rounds import round as rounds
from fedquad.spec import CostSpec, DataSpec, ModelSpec, TrainingSpec
from fedquad.types import Adapter, Assignment, Update

MODEL = ModelSpec(name="mini", max_length=32)
TASK = DataSpec(name="mini-nli", train=480, validation=16, test=450)
TRAINING = TrainingSpec(steps=16, batch=8, learning_rate=7e-3, padding="longest")
DEPTHS = (12, 8, 5)  # one device of each class, the strongest the fastest
ROUNDS, FEWER = 4, 2  # of a method as it is, and of its variants, which plan otherwise and train alike
# Sub-models of a deep encoder learn slowly, and their merge slower still: of these more than chance is asked.
WEAK = ("fedra", "inclusivefl")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all methods train on."""

    trainee: Trainee
    train: Encoded
    test: Encoded
    shards: tuple[np.ndarray, ...]
    cost: CostModel


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    torch.set_num_threads(1)
    found = tokens.prepare(TASK, MODEL, 0, tmp_path_factory.mktemp("cache"))
    train, test = (tokens.read(Path(found["splits"][name]["path"])) for name in ("train", "test"))
    shards = partition(
        train.labels, len(DEPTHS), kind="class_mix", alpha=10.0, seed=0, batch=TRAINING.batch, columns=None
    )
    trainee = model.load(MODEL, labels=found["labels"], greatest_rank=16)
    cost = cost_model(trainee.layout.shape, MODEL, TRAINING, CostSpec(priced_as="roberta-base"), found["labels"])
    return Bench(trainee=trainee, train=train, test=test, shards=shards, cost=cost)


def learn(bench: Bench, method: str, count: int) -> float:
    """Accuracy after so many rounds; a device that has no update fails the test."""
    made = discover.strategy(method)
    examples = np.array([len(shard) for shard in bench.shards])
    known = rounds.World(
        layers=12,
        rank=MODEL.rank,
        cost=bench.cost,
        training=TRAINING,
        examples=examples,
        rounds=count,
        memory_policy=made.memory_policy,
    )

    def answer(assignment: Assignment, sent: Adapter, number: int) -> Update:
        shard, key = bench.train.rows(bench.shards[assignment.device]), (0, 0, number, assignment.device)
        done = loop.train(
            bench.trainee,
            assignment,
            sent,
            shard,
            training=TRAINING,
            key=key,
            round=number,
            based_on=adapters.digest(sent),
        )
        seconds = estimate(assignment, bench.cost, there[assignment.device]).seconds
        return replace(done, report=replace(done.report, seconds=seconds))  # charge what the cost model says

    there = fleet(*DEPTHS, cost=bench.cost)
    state = rounds.begin(made, adapters.initial(bench.trainee.layout, 16, seed=0), known)
    for _ in range(count):
        _, _, outcome = run(made, state, there, known, answer)
        assert outcome.failures == {}
        assert all(math.isfinite(loss) for loss in outcome.losses.values())
        state = outcome.state
    assert state.round == count
    scores = evaluate.evaluate(bench.trainee, made.view(state, known), bench.test, 0, len(bench.test), batch=100)
    assert math.isfinite(scores.loss)
    return classification.accuracy(scores.sums["confusion"])


DEFAULTS = {next(name for name in METHODS if name.partition(":")[0] == method) for method in discover.strategies()}
EACH = [pytest.param(name, marks=() if name in DEFAULTS else pytest.mark.server) for name in METHODS]


@pytest.mark.parametrize("method", EACH)
def test_a_short_federated_training_learns(method: str, bench: Bench) -> None:
    chance = max(np.bincount(bench.test.labels)) / len(bench.test)
    deviation = math.sqrt(chance * (1 - chance) / len(bench.test))
    is_weak = method.startswith(WEAK)
    needed = chance + (0.20 if method in DEFAULTS and not is_weak else 3 * deviation)
    assert learn(bench, method, ROUNDS if method in DEFAULTS or is_weak else FEWER) > needed


def test_rank_is_no_learning_rate(bench: Bench) -> None:
    """|scale B A| after one round of eight steps at ranks 2 to 16, the campaign's being 8."""
    layers = range(len(bench.trainee.layers))
    moved = {}
    for rank in (2, 4, 8, 12, 16):
        sent = adapters.cut(adapters.initial(bench.trainee.layout, 16, 0), layers, [rank] * len(layers))
        assignment = Assignment(
            device=0,
            present=tuple(layers),
            trained=tuple(layers),
            ranks=(rank,) * len(layers),
            steps=8,
            learning_rate=1e-2,
        )
        training = replace(TRAINING, steps=8)
        update = loop.train(
            bench.trainee, assignment, sent, bench.train, training=training, key=(0, 0, 1, 0), round=1, based_on=""
        )
        moved[rank] = update.report.lora_norm
        assert moved[rank] == pytest.approx(dense_norm(sent, update.delta), rel=1e-4)
    assert [moved[rank] / moved[8] for rank in moved] == pytest.approx([1] * 5, abs=0.25)


def dense_norm(sent: Adapter, delta: Adapter) -> float:
    pairs = [(pair, delta.layers[layer][t]) for layer, found in sent.layers.items() for t, pair in found.items()]
    return math.sqrt(sum(float(np.square((p.b + d.b) @ (p.a + d.a)).sum()) for p, d in pairs))


def test_unequal_steps_and_ranks_are_no_reason_to_refuse_anybody(bench: Bench) -> None:
    """Eight steps beside one, rank 16 beside 2, for four rounds; one that is a million times too far is told from them."""
    whole, layers = adapters.initial(bench.trainee.layout, 16, 0), range(len(bench.trainee.layers))
    given = [(2, 1), (16, 8), (16, 1), (2, 8), (8, 4)]
    kept = bounds.nothing_yet(len(layers))
    for number in range(1, 5):
        measured, updates = [], []
        for device, (rank, steps) in enumerate(given):
            assignment = Assignment(
                device=device,
                present=tuple(layers),
                trained=tuple(layers),
                ranks=(rank,) * len(layers),
                steps=steps,
                learning_rate=1e-2,
            )
            update = loop.train(
                bench.trainee,
                assignment,
                adapters.cut(whole, layers, assignment.ranks),
                bench.train,
                training=TRAINING,
                key=(0, 0, number, device),
                round=number,
                based_on="",
            )
            found = bounds.measures(update.delta, assignment, len(layers))
            assert bounds.beyond_absolute(update.delta, found) == ""
            measured.append(found)
            updates.append(update)
        limit = bounds.limits(measured, kept, TRAINING.update_bound)
        assert [bounds.beyond(found, limit) for found in measured] == [""] * len(given)
        assert max(np.max(found / limit) for found in measured) < 0.1  # ten times as unequal would not be refused
        assert bounds.beyond(1e6 * measured[0], limit)
        kept = bounds.remember(kept, measured)
        full = updates[1].delta  # of rank 16
        whole = adapters.unflatten(
            {name: array + adapters.flatten(full)[name] for name, array in adapters.flatten(whole).items()}
        )
