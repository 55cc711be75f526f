"""One label an example: cross-entropy of a classifier on the first token, or on the last of a decoder."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fedquad.learn.batches import Batch
from fedquad.learn.encoding import Arrays, Reader, encode_texts
from fedquad.learn.practice import Practice, outputs, sums
from fedquad.learn.tables import Table, TextTask


def encode(table: Table, task: TextTask, reader: Reader) -> Arrays:
    return encode_texts(table, task.columns, reader) | {"labels": np.asarray(table.labels, np.int64)}


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    return functional.cross_entropy(outputs(model, batch), batch["labels"], reduction="none").mean()


def count(model: nn.Module, batch: Batch, labels: int) -> Arrays:
    logits = outputs(model, batch)
    confusion = np.zeros((labels, labels), np.int64)
    np.add.at(confusion, (batch["labels"].cpu().numpy(), logits.argmax(1).cpu().numpy()), 1)
    each = functional.cross_entropy(logits, batch["labels"], reduction="none")
    return {"confusion": confusion, **sums(each)}


PRACTICE = Practice(
    auto="AutoModelForSequenceClassification",
    settings=lambda labels: {"num_labels": labels},
    encode=encode,
    loss=loss,
    count=count,
)
