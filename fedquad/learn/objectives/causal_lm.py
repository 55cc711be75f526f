"""The words of an answer after its prompt: cross-entropy on the answer's tokens alone, under the frozen language head.

A row is a prompt and an answer, or a conversation; the tokenizer's own chat template makes text of either. Without a template the
answer follows the prompt's tokens, and ends with the token that ends a text.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from fedquad.errors import DeviceError
from fedquad.learn.batches import Batch
from fedquad.learn.encoding import NO_LABEL, Arrays, Reader
from fedquad.learn.language_head import head_losses, likeliest
from fedquad.learn.practice import Practice, sums
from fedquad.learn.tables import Table, TextTask

Message = dict[str, str]


def encode(table: Table, task: TextTask, reader: Reader) -> Arrays:
    """Conversations as tokens, labelled where the assistant speaks."""
    size, length = len(table), reader.length
    arrays: Arrays = {
        "input_ids": np.full((size, length), reader.pad, np.int32),
        "attention_mask": np.zeros((size, length), np.uint8),
        "labels": np.full((size, length), NO_LABEL, np.int64),
    }
    for row, messages in enumerate(_conversations(table, task)):
        ids, spoken = _tokens(messages, reader, f"{task.name}, row {row}")
        if not any(begin < length for begin, _ in spoken):
            raise DeviceError(
                f"{task.name}, row {row}: its prompt alone takes {spoken[0][0]} tokens, and model.max_length is {length}; raise it"
            )
        arrays["input_ids"][row, : len(ids)] = ids[:length]
        arrays["attention_mask"][row, : len(ids)] = 1
        for begin, end in spoken:
            arrays["labels"][row, begin:end] = ids[begin : min(end, length)]
    return arrays


def _conversations(table: Table, task: TextTask) -> Iterator[list[Message]]:
    """Each row as messages, the last of which is the assistant's."""
    columns = [table.columns[name] for name in task.columns]
    for row, cells in enumerate(zip(*columns)):
        if len(cells) == 2:
            yield [{"role": "user", "content": cells[0]}, {"role": "assistant", "content": cells[1]}]
            continue
        yield _checked(cells[0], f"{task.name}, row {row}")


def _checked(cell: str, where: str) -> list[Message]:
    try:
        messages = json.loads(cell)
    except ValueError:
        messages = None
    is_sound = isinstance(messages, list) and all(
        isinstance(one, dict) and isinstance(one.get("role"), str) and isinstance(one.get("content"), str)
        for one in messages
    )
    if not is_sound or not any(one["role"] == "assistant" for one in messages):
        raise DeviceError(
            f"{where}: {cell[:80]!r} is no conversation; it is a list of messages with a role and a content, one at least the "
            "assistant's"
        )
    last = max(at for at, one in enumerate(messages) if one["role"] == "assistant")
    return [{"role": one["role"], "content": one["content"]} for one in messages[: last + 1]]


def _tokens(messages: list[Message], reader: Reader, where: str) -> tuple[list[int], list[tuple[int, int]]]:
    """A conversation's tokens, and from where to where the assistant speaks."""
    tokenizer: Any = reader.tokenizer
    if tokenizer.chat_template is None:
        return _plain(messages, tokenizer)
    whole = _templated(tokenizer, messages, False)
    spoken: list[tuple[int, int]] = []
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before, until = _templated(tokenizer, messages[:at], True), _templated(tokenizer, messages[: at + 1], False)
        if whole[: len(before)] == before and whole[: len(until)] == until:
            spoken.append((len(before), _end(until, len(before), tokenizer.eos_token_id)))
        elif at == len(messages) - 1:
            raise DeviceError(
                f"{where}: the tokenizer's chat template does not put an answer behind its prompt as it is; name another model"
            )
    return whole, spoken


def _end(ids: list[int], begin: int, ends: int | None) -> int:
    """Where an answer ends: behind the token that ends it, for a line break that a template puts after that is nobody's to say."""
    return ids.index(ends, begin) + 1 if ends in ids[begin:] else len(ids)


def _templated(tokenizer: Any, messages: Sequence[Message], asks: bool) -> list[int]:
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=asks)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _plain(messages: list[Message], tokenizer: Any) -> tuple[list[int], list[tuple[int, int]]]:
    """One turn after the other, each answer ended by the token that ends a text."""
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids, spoken = list(start), []
    for message in messages:
        begin = len(ids)
        ids += tokenizer(message["content"], add_special_tokens=False)["input_ids"]
        if message["role"] == "assistant":
            ids += [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
            spoken.append((begin, len(ids)))
    return ids, spoken


def _answers(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What stands before each token of an answer, that token, and whose row it is.

    Padding lies on the right, where no token of a decoder looks, so that attention need not be told of it.
    """
    x_BTH = model.base_model(input_ids=batch["input_ids"], use_cache=False).last_hidden_state[:, :-1]
    targets_BT = batch["labels"][:, 1:]
    is_spoken_BT = targets_BT != NO_LABEL
    return x_BTH[is_spoken_BT], targets_BT[is_spoken_BT], is_spoken_BT.nonzero()[:, 0]


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    x_NH, targets_N, _ = _answers(model, batch)
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    return head_losses(x_NH, head.weight, head.bias, targets_N).mean()


def count(model: nn.Module, batch: Batch, labels: int) -> Arrays:
    x_NH, targets_N, rows_N = _answers(model, batch)
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    is_right_N = likeliest(x_NH, head.weight, head.bias) == targets_N
    examples = len(batch["labels"])
    wrong = len(set(rows_N[~is_right_N].tolist()))
    tally = {"right": int(is_right_N.sum()), "exact": examples - wrong, "examples": examples}
    each = head_losses(x_NH, head.weight, head.bias, targets_N)
    return {**{name: np.asarray(value) for name, value in tally.items()}, **sums(each)}


PRACTICE = Practice(
    auto="AutoModelForCausalLM",
    settings=lambda labels: {},
    has_head=False,
    encode=encode,
    loss=loss,
    count=count,
)
