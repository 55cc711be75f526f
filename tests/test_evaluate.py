"""Scores are counts and sums: chunks add up, and the measures are those of the textbooks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import a_trainee, an_adapter, an_assignment, batch_of, examples

from fedquad.learn.configure import configure
from fedquad.learn.evaluate import evaluate
from fedquad.learn.scoring import scoring
from fedquad.objective import Counts
from fedquad.objectives.classification import accuracy, f1


def test_scores_are_those_of_plain_torch(tmp_path):
    trainee, data = a_trainee(tmp_path), examples(17)
    adapter = an_adapter(trainee.layout)
    scores = evaluate(trainee, adapter, data, 0, 17, 5)
    with configure(trainee, an_assignment(), adapter), torch.no_grad():
        logits = trainee.model(**batch_of(trainee, data)).logits
    labels = torch.tensor(data.labels)
    assert scores.sums["loss"] == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum")), rel=1e-5
    )
    assert accuracy(scores.sums["confusion"]) == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert scores.sums["confusion"].sum(axis=1).tolist() == np.bincount(data.labels, minlength=3).tolist()


@pytest.mark.parametrize(("precision", "folds"), [("fp32", True), ("bf16", False)])
def test_scoring_leaves_the_model_as_it_was_and_passes_a_weight_once(tmp_path, precision, folds):
    """In float32 LoRA is a part of the frozen weights meanwhile; in bf16 it would be rounded away."""
    trainee = a_trainee(tmp_path, precision=precision)
    adapter = an_adapter(trainee.layout)
    evaluate(trainee, adapter, examples(3), 0, 3, 3)
    before = {name: value.clone() for name, value in trainee.model.state_dict().items()}
    module = trainee.lora(1)["attention.self.query"]
    x = torch.randn(2, 5, module.in_features, dtype=trainee.dtype)
    plain = module(x)
    with scoring(trainee, (0, 1)):
        assert module.disable_adapters is folds
        assert not trainee.lora(2)["attention.self.query"].disable_adapters
        torch.testing.assert_close(module(x), plain)
        assert trainee.layers[1].feed_forward_chunk(x).shape[1] == 1
    assert trainee.layers[1].feed_forward_chunk(x).shape[1] == 5
    after = trainee.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not module.disable_adapters


def test_chunks_add_up_to_the_whole(tmp_path):
    trainee, data = a_trainee(tmp_path), examples(17)
    adapter = an_adapter(trainee.layout)
    whole = evaluate(trainee, adapter, data, 0, 17, 4)
    parts = evaluate(trainee, adapter, data, 0, 8, 4) + evaluate(trainee, adapter, data, 8, 99, 4)
    assert parts.sums["count"] == whole.sums["count"] == 17
    assert (parts.sums["confusion"] == whole.sums["confusion"]).all()
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)


def test_evaluation_draws_nothing_and_a_model_of_some_layers_can_be_scored(tmp_path):
    trainee, data = a_trainee(tmp_path), examples(8)
    adapter = an_adapter(trainee.layout)
    assert (
        evaluate(trainee, adapter, data, 0, 8, 8).sums["loss"] == evaluate(trainee, adapter, data, 0, 8, 8).sums["loss"]
    )
    assert (
        evaluate(trainee, adapter, data, 0, 8, 8, (0, 1)).sums["loss"]
        != evaluate(trainee, adapter, data, 0, 8, 8).sums["loss"]
    )
    assert len(trainee.model.get_submodule(trainee.layout.layer_path)) == 3


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30))
def test_f1_of_two_classes_is_that_of_the_second(pairs):
    confusion = np.zeros((2, 2), np.int64)
    for truth, guess in pairs:
        confusion[truth, guess] += 1
    hits = sum(truth == guess == 1 for truth, guess in pairs)
    wrong = sum(truth != guess for truth, guess in pairs)
    assert f1(confusion) == pytest.approx(2 * hits / (2 * hits + wrong) if hits else 0.0)
    assert accuracy(confusion) == pytest.approx(1 - wrong / len(pairs))


def test_f1_of_more_classes_is_their_mean_and_of_nothing_is_zero():
    assert f1(np.diag([3, 4, 5])) == 1.0
    assert f1(np.array([[1, 1, 0], [0, 2, 0], [0, 0, 0]])) == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert accuracy(np.zeros((2, 2), np.int64)) == f1(np.zeros((2, 2), np.int64)) == 0.0
    assert Counts({"confusion": np.zeros((2, 2)), "loss": np.float64(0), "count": np.int64(0)}).loss == 0.0
