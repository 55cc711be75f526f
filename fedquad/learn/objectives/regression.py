"""A number an example: the squared error of one output, on the scale from 0 to 1."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fedquad.learn.batches import Batch
from fedquad.learn.encoding import Arrays, Reader, encode_texts
from fedquad.learn.practice import Practice, outputs, sums
from fedquad.learn.tables import Table, TextTask
from fedquad.objectives.regression import moments, table


def encode(rows: Table, task: TextTask, reader: Reader) -> Arrays:
    """Texts, and their numbers between the two that the task names."""
    low, high = map(float, task.labels)
    scaled = (np.asarray(rows.labels, np.float64) - low) / (high - low)
    return encode_texts(rows, task.columns, reader) | {"labels": scaled.astype(np.float32)}


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    return functional.mse_loss(outputs(model, batch)[:, 0], batch["labels"])


def count(model: nn.Module, batch: Batch, labels: int) -> Arrays:
    guesses, truths = outputs(model, batch)[:, 0], batch["labels"]
    x, y = truths.double().cpu().numpy(), guesses.double().cpu().numpy()
    return {"table": table(x, y), **moments(x, y), **sums((guesses - truths) ** 2)}


PRACTICE = Practice(
    auto="AutoModelForSequenceClassification",
    settings=lambda labels: {"num_labels": 1, "problem_type": "regression"},
    encode=encode,
    loss=loss,
    count=count,
)
