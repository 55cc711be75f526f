"""Devices that train in one stack: each comes to what it comes to alone, and what befalls one is no other's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import LABELS, a_spec, a_trainee, an_adapter, an_assignment, examples, write_model

from fedquad.learn import cohort
from fedquad.learn.cohort import Order, train_together
from fedquad.learn.keeps import Keeps, kept
from fedquad.learn.loop import train
from fedquad.learn.model import Trainee, load
from fedquad.learn.tokens import Encoded
from fedquad.rounds import adapters
from fedquad.spec import TrainingSpec
from fedquad.types import Adapter, Lora, Update

TRAINING = TrainingSpec(batch=5, clip=0.5)
DEPTHS = (3, 1, 0, 2)


def an_order(trainee: Trainee, device: int, depth: int = 3, data: Encoded | None = None, **other: Any) -> Order:
    """A device of so great a depth, with examples of its own, of one length or another."""
    assignment = an_assignment(device=device, trained=tuple(range(3 - depth, 3)), **other)
    data = examples(17, length=8 + device % 5, seed=device) if data is None else data
    wide = replace(data, input_ids=_wide(data.input_ids, 1), attention_mask=_wide(data.attention_mask, 0))
    adapter = an_adapter(trainee.layout)
    return Order(assignment=assignment, adapter=adapter, data=wide, key=(0, 0, 1, device), round=1, based_on="d")


def _wide(array: np.ndarray, fill: int) -> np.ndarray:
    return np.pad(array, ((0, 0), (0, 12 - array.shape[1])), constant_values=fill)


def alone(trainee: Trainee, order: Order, training: TrainingSpec = TRAINING) -> Update:
    o = order
    return train(
        trainee, o.assignment, o.adapter, o.data, training=training, key=o.key, round=o.round, based_on=o.based_on
    )


def check_alike(found: Update, wanted: Update, tolerance: float = 2e-4) -> None:
    """AdamW's first steps are the rate whatever the gradient's size, so that deltas differ by as much of the rate as rounding is of a gradient."""
    assert (found.device, found.round, found.based_on) == (wanted.device, wanted.round, wanted.based_on)
    assert found.report.failure == wanted.report.failure == ""
    assert found.report.loss == pytest.approx(wanted.report.loss, rel=1e-5)
    assert found.report.lora_norm == pytest.approx(wanted.report.lora_norm, rel=1e-4)
    assert (found.report.examples, found.report.tokens) == (wanted.report.examples, wanted.report.tokens)
    assert found.gradient_norms == pytest.approx(wanted.gradient_norms, rel=1e-3)
    ours, theirs = adapters.flatten(found.delta), adapters.flatten(wanted.delta)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], atol=tolerance, err_msg=name)


@pytest.mark.parametrize("kind", ["roberta", "bert", "llama", "qwen2"])
def test_each_comes_to_what_it_comes_to_alone(kind: str, tmp_path: Path) -> None:
    """Four depths, batches of other lengths, a last batch of two examples."""
    trainee = a_trainee(tmp_path, kind, has_dropout=False)
    orders = [an_order(trainee, device, depth, steps=6) for device, depth in enumerate(DEPTHS)]
    wanted = [alone(trainee, order) for order in orders]
    for found, one in zip(train_together(trainee, orders, TRAINING), wanted, strict=True):
        check_alike(found, one)
    check_alike(alone(trainee, orders[0]), wanted[0], 0.0)  # the model is as it was
