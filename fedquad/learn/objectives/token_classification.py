"""A tag a word: cross-entropy on the first token of each word; the others, and padding, have no tag."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fedquad.learn.batches import Batch
from fedquad.learn.encoding import CHUNK, NO_LABEL, Arrays, Reader
from fedquad.learn.practice import Practice, outputs, sums
from fedquad.learn.tables import Table, TextTask
from fedquad.objectives.token_classification import spans


def encode(table: Table, task: TextTask, reader: Reader) -> Arrays:
    """The words of the task's one column, and the tag of each at its first token."""
    texts, (size, length) = table.columns[task.columns[0]], (len(table), reader.length)
    arrays: Arrays = {
        "input_ids": np.full((size, length), reader.pad, np.int32),
        "attention_mask": np.zeros((size, length), np.uint8),
        "labels": np.full((size, length), NO_LABEL, np.int64),
    }
    for start in range(0, size, CHUNK):
        rows = [text.split() for text in texts[start : start + CHUNK]]
        encoded = reader.tokenizer(rows, is_split_into_words=True, truncation=True, max_length=length)
        for offset, ids in enumerate(encoded["input_ids"]):
            row, words = start + offset, encoded.word_ids(offset)
            arrays["input_ids"][row, : len(ids)] = ids
            arrays["attention_mask"][row, : len(ids)] = 1
            for at, word in enumerate(words):
                if word is not None and word not in words[:at]:
                    arrays["labels"][row, at] = table.labels[row][word]
    return arrays


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    return functional.cross_entropy(
        outputs(model, batch).flatten(0, 1), batch["labels"].flatten(), ignore_index=NO_LABEL
    )


def count(model: nn.Module, batch: Batch, labels: int) -> Arrays:
    logits_BTC, truth_BT = outputs(model, batch), batch["labels"]
    is_tagged = truth_BT != NO_LABEL
    guess_BT, tally = logits_BTC.argmax(-1), {"hits": 0, "guessed": 0, "given": 0, "right": 0}
    for guess, truth, there in zip(guess_BT, truth_BT, is_tagged):
        guessed, given = spans(guess[there].tolist()), spans(truth[there].tolist())
        tally["hits"] += len(guessed & given)
        tally["guessed"] += len(guessed)
        tally["given"] += len(given)
        tally["right"] += int((guess == truth)[there].sum())
    each = functional.cross_entropy(logits_BTC[is_tagged], truth_BT[is_tagged], reduction="none")
    return {**{name: np.asarray(value) for name, value in tally.items()}, **sums(each)}


PRACTICE = Practice(
    auto="AutoModelForTokenClassification",
    settings=lambda labels: {"num_labels": labels},
    encode=encode,
    loss=loss,
    count=count,
)
