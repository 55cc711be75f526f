"""A device's round: what is learned, what is reported, what a method may change in it, and what counts as a failure."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import KINDS, a_trainee, an_adapter, an_assignment, batch_of, examples

from fedquad.learn.configure import configure
from fedquad.learn.evaluate import evaluate
from fedquad.learn.loop import train
from fedquad.learn.optimizer import Optimizer
from fedquad.learn.work import Failed, changes
from fedquad.objectives.classification import accuracy
from fedquad.rounds import adapters
from fedquad.spec import TrainingSpec
from fedquad.types import Adapter, Local, Lora

KEY = (0, 0, 1, 2)


@pytest.fixture(scope="module")
def trainee(tmp_path_factory):
    return a_trainee(tmp_path_factory.mktemp("model"), has_dropout=False)


def a_round(trainee, assignment=None, adapter=None, data=None, key=KEY, **training):
    adapter = an_adapter(trainee.layout) if adapter is None else adapter
    training = TrainingSpec(**({"batch": 5, "clip": 0.0} | training))
    data = examples() if data is None else data
    return train(
        trainee, assignment or an_assignment(), adapter, data, training=training, key=key, round=1, based_on="d"
    )


def plus(adapter: Adapter, delta: Adapter) -> Adapter:
    """The adapter after an update that changed all of it."""
    sums = {
        name: adapters.freeze(value + adapters.flatten(delta)[name])
        for name, value in adapters.flatten(adapter).items()
    }
    return adapters.unflatten(sums)


def test_training_lowers_the_loss_and_the_delta_is_what_was_learned(trainee):
    adapter = an_adapter(trainee.layout)
    update = a_round(trainee, an_assignment(steps=60), adapter, batch=10)
    after = evaluate(trainee, plus(adapter, update.delta), examples(), 0, 20, 20)
    assert after.loss < 0.5 * evaluate(trainee, adapter, examples(), 0, 20, 20).loss
    assert accuracy(after.sums["confusion"]) > 0.9
    assert (update.device, update.round, update.based_on, update.report.failure) == (2, 1, "d", "")
    assert update.report.examples == 20
    assert update.report.seconds > 0
    assert update.report.peak_bytes > 10_000_000


def test_the_same_key_gives_the_same_bits_and_another_key_others(tmp_path):
    trainee = a_trainee(tmp_path)  # with dropout
    first = a_round(trainee)
    a_round(trainee, an_assignment(present=(1,), trained=(1,)), key=(5, 0, 1, 2))
    torch.rand(3)
    assert adapters.digest(a_round(trainee).delta) == adapters.digest(first.delta)
    assert a_round(trainee).report.loss == first.report.loss
    for other in ((1, 0, 1, 2), (0, 1, 1, 2), (0, 0, 2, 2), (0, 0, 1, 3)):
        assert adapters.digest(a_round(trainee, key=other).delta) != adapters.digest(first.delta)


def test_dropout_is_each_devices_own(tmp_path):
    trainee, alike = (
        a_trainee(tmp_path),
        examples().rows([0] * 10),
    )  # one example ten times: the order tells nobody apart
    one, other = (a_round(trainee, an_assignment(device=d), data=alike, key=(0, 0, 1, d)) for d in (2, 3))
    assert one.report.loss != other.report.loss


def test_training_leaves_torchs_own_randomness_alone(trainee):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    a_round(trainee)
    assert torch.equal(torch.rand(2), expected)


def test_only_what_is_trained_comes_back(trainee):
    update = a_round(trainee, an_assignment(present=(0, 2), trained=(2,), ranks=(4, 2)))
    assert set(update.delta.layers) == set(update.gradient_norms) == {2}
    assert {pair.rank for pair in update.delta.layers[2].values()} == {2}
    assert set(update.delta.head) == set(trainee.layout.head)
    head_only = a_round(trainee, an_assignment(trained=()))
    assert head_only.delta.layers == {}
    assert head_only.report.failure == ""
    assert np.abs(head_only.delta.head["classifier.dense.weight"]).max() > 0


def test_gradient_norms_and_clipping_are_those_of_plain_torch(trainee):
    data, adapter = examples(5), an_adapter(trainee.layout)
    with configure(trainee, an_assignment(), adapter) as learning:
        trainee.model.train()
        logits = trainee.model(**batch_of(trainee, data)).logits
        torch.nn.functional.cross_entropy(logits, torch.tensor(data.labels)).backward()
        expected = {
            layer: math.sqrt(sum(float(p.grad.square().sum()) for p in parameters))
            for layer, parameters in learning.layers.items()
        }
        trainee.model.zero_grad()
    update = a_round(trainee, an_assignment(steps=1), adapter, data)
    assert update.gradient_norms == pytest.approx(expected, rel=1e-5)
    # AdamW's first step is the rate whatever the gradient's size, unless clipping makes it as small as its epsilon.
    largest = {}
    for clip in (0.0, 1e-8):
        delta = a_round(trainee, an_assignment(steps=1), adapter, data, clip=clip).delta
        largest[clip] = np.abs(delta.layers[0]["attention.self.query"].a).max()
    assert largest[0.0] == pytest.approx(0.01, rel=0.01)
    assert largest[1e-8] < 0.005
    clipped = a_round(trainee, an_assignment(steps=1), adapter, data, clip=1e-8)
    assert clipped.gradient_norms == update.gradient_norms  # g_l is what the loss gives, not what clipping leaves


def test_int8_layers_change_gradients_a_little_and_the_loss_not_at_all(trainee):
    data = examples(64)
    plain = a_round(trainee, an_assignment(steps=1), data=data, batch=64)
    int8 = a_round(trainee, an_assignment(steps=1, quantized=(0, 1)), data=data, batch=64)
    assert int8.report.loss == plain.report.loss
    assert int8.gradient_norms == pytest.approx(plain.gradient_norms, rel=1e-2)
    assert int8.gradient_norms != plain.gradient_norms


def product(adapter):
    """B A of every pair."""
    return {(layer, t): p.b @ p.a for layer, pairs in adapter.layers.items() for t, p in pairs.items()}


def test_at_another_rank_nothing_moves_that_was_not_trained_and_the_function_is_the_same(tmp_path):
    trainee = a_trainee(tmp_path, has_dropout=False, rank=8)
    sent = adapters.initial(trainee.layout, 3, 0)
    learned = plus(sent, a_round(trainee, an_assignment(ranks=(3, 3, 3), steps=8), sent).delta)
    still = a_round(trainee, an_assignment(ranks=(3, 3, 3), learning_rate=0.0), learned).delta
    assert not any(value.any() for value in adapters.flatten(still).values())
    padded = Adapter(
        layers={
            layer: {t: Lora(np.pad(p.a, ((0, 5), (0, 0))), np.pad(p.b, ((0, 0), (0, 5)))) for t, p in pairs.items()}
            for layer, pairs in learned.layers.items()
        },
        head=learned.head,
    )
    small, large = (evaluate(trainee, one, examples(), 0, 20, 20).loss for one in (learned, padded))
    assert small == pytest.approx(large, rel=1e-5)


def test_the_norm_of_what_a_device_runs_counts_every_layer_present(trainee):
    adapter = an_adapter(trainee.layout)
    still = a_round(trainee, an_assignment(trained=(2,), learning_rate=0.0), adapter).report.lora_norm
    whole = math.sqrt(sum(float(np.square(value).sum()) for value in product(adapter).values()))
    assert still == pytest.approx(whole, rel=1e-5)


def test_what_a_device_reports_of_its_lora_is_as_it_is_after_training(trainee):
    adapter = an_adapter(trainee.layout)
    update = a_round(trainee, an_assignment(steps=20), adapter)
    after = product(plus(adapter, update.delta)).values()
    assert update.report.lora_norm == pytest.approx(
        math.sqrt(sum(float(np.square(one).sum()) for one in after)), rel=1e-5
    )


def test_one_weight_that_is_not_finite_is_a_failed_update(trainee):
    fresh = adapters.initial(trainee.layout, 4, 0)  # B is zero: A gets no gradient, and stays finite
    update = a_round(trainee, an_assignment(steps=1, learning_rate=1e39), fresh)
    assert "its weights are not finite after 1 steps" in update.report.failure


def test_one_number_of_a_tensor_is_enough():
    learned = torch.nn.Parameter(torch.tensor([1.0, math.inf]))
    work, optimizer = SimpleNamespace(assignment=an_assignment(steps=7)), Optimizer([learned], [learned], 0.1, 0.0)
    with pytest.raises(Failed, match="not finite after 7 steps"):
        changes(work, optimizer.values())


def tail(adapter: Adapter, start: int) -> float:
    pairs = [pair for targets in adapter.layers.values() for pair in targets.values()]
    return sum(float(np.linalg.norm(pair.a[start:]) * np.linalg.norm(pair.b[:, start:])) for pair in pairs)


def test_the_tail_penalty_shrinks_the_tail_and_the_device_then_prunes_its_rank(trainee):
    adapter = an_adapter(trainee.layout)
    local = Local(tail_penalty=1.0, tail_keep=0.5)
    kept = a_round(trainee, an_assignment(steps=20, local=local), adapter)
    assert tail(plus(adapter, kept.delta), 2) < 0.5 * tail(adapter, 2)
    pruned = a_round(trainee, an_assignment(steps=20, local=local, least_ranks=(1, 3, 1)), adapter)
    assert adapters.ranks(pruned.delta) == {0: 2, 1: 3, 2: 2}
    for name, value in adapters.flatten(adapters.cut(kept.delta, (0,), (2,))).items():
        if name.startswith("layers."):
            np.testing.assert_array_equal(adapters.flatten(pruned.delta)[name], value)


def test_a_tail_of_zeros_has_no_gradient_and_is_not_pruned(trainee):
    fresh = adapters.initial(trainee.layout, 4, 0)
    local = Local(tail_penalty=1e-3, tail_keep=0.9)
    update = a_round(trainee, an_assignment(steps=2, local=local, least_ranks=(1, 1, 1)), fresh)
    assert update.report.failure == ""
    assert adapters.ranks(update.delta) == {0: 4, 1: 4, 2: 4}


def test_a_probe_measures_squared_norms_of_the_candidates_and_trains_nothing(trainee):
    data = examples(5)
    update = a_round(trainee, an_assignment(trained=(1, 2), steps=0, local=Local(probe_batches=3)), data=data)
    trained = a_round(trainee, an_assignment(trained=(1, 2), steps=1), data=data)
    squares = update.signals["gradient_squares"]
    assert update.delta.layers == {}
    assert update.delta.head == {}
    assert squares[0] == 0
    np.testing.assert_allclose(squares[1:], [trained.gradient_norms[layer] ** 2 for layer in (1, 2)], rtol=1e-5)


def test_bf16_learns_in_float32(tmp_path):
    full, half = (a_trainee(tmp_path / p, has_dropout=False, precision=p) for p in ("fp32", "bf16"))
    assignment = an_assignment(steps=10, learning_rate=1e-4)
    exact, rounded = (a_round(trainee, assignment).delta for trainee in (full, half))
    a, b = (delta.layers[1]["attention.self.query"].a for delta in (exact, rounded))
    # Ten steps of 1e-4 are below the resolution of bf16 (2^-8 of weights of 0.1): without masters they would be lost.
    assert np.abs(b).max() < 1.1e-3
    assert len(np.unique(b)) > 0.9 * b.size
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.8
    begun, gone_on = (a_round(half, an_assignment(steps=steps), batch=10).report.loss for steps in (2, 60))
    assert gone_on < 0.9 * begun  # the model computes with what was learned


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_trains(kind, tmp_path):
    trainee = a_trainee(tmp_path, kind)
    update = a_round(trainee, an_assignment(steps=60))
    assert update.report.failure == ""
    assert update.report.loss < a_round(trainee, an_assignment(steps=2)).report.loss
    assert set(update.delta.layers) == {0, 1, 2}


def test_padding_to_the_longest_changes_no_result_beyond_rounding(trainee):
    longest, most = (a_round(trainee, padding=padding) for padding in ("longest", "max"))
    assert longest.report.loss == pytest.approx(most.report.loss, rel=1e-5)


def test_a_smaller_last_batch_and_a_shard_below_one_batch_are_fine(trainee):
    assert a_round(trainee, data=examples(7), batch=5).report.failure == ""
    assert a_round(trainee, data=examples(2), batch=5).report.failure == ""


def test_an_empty_shard_is_a_failed_update(trainee):
    update = a_round(trainee, data=examples().rows([]))
    assert update.report.failure == "device 2: it has no examples"
    assert update.delta.layers == {}


def test_a_loss_that_is_not_a_number_is_a_failed_update(trainee):
    adapter = an_adapter(trainee.layout)
    pairs = {t: Lora(np.full_like(p.a, np.inf), p.b) for t, p in adapter.layers[1].items()}
    update = a_round(trainee, None, replace(adapter, layers={**adapter.layers, 1: pairs}))
    assert "the loss is nan at step 1 of 3" in update.report.failure
    assert update.delta.head == {}
    assert a_round(trainee).report.failure == ""


def test_running_out_of_memory_is_a_failed_update(trainee):
    hook = trainee.layers[1].register_forward_hook(lambda *_: torch.empty(2**60))
    try:
        update = a_round(trainee)
    finally:
        hook.remove()
    assert "ran out of memory" in update.report.failure
    assert len(trainee.model.get_submodule(trainee.layout.layer_path)) == 3
    assert a_round(trainee).report.failure == ""


def test_other_errors_are_not_hidden(trainee):
    def fail(*_):
        raise RuntimeError("a bug")

    hook = trainee.layers[1].register_forward_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="a bug"):
            a_round(trainee)
    finally:
        hook.remove()
