"""Rows of text as arrays of tokens, padded on the right to one length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fedquad.learn.tables import Table

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Arrays = dict[str, npt.NDArray[Any]]
NO_LABEL = -100  # of tokens that do not count, as torch's losses have it
CHUNK = 4096  # rows tokenised at a time: a million rows of Python lists would not fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What text becomes tokens with."""

    tokenizer: "PreTrainedTokenizerBase"
    pad: int
    length: int  # an example is cut to
    digest: str  # of all of this


def encode_texts(table: Table, columns: Sequence[str], reader: Reader) -> Arrays:
    """One text an example, or two as a pair, as the tokenizer joins them."""
    texts = [table.columns[name] for name in columns]
    size, length, tokenizer = len(table), reader.length, reader.tokenizer
    arrays: Arrays = {
        "input_ids": np.full((size, length), reader.pad, np.int32),
        "attention_mask": np.zeros((size, length), np.uint8),
    }
    has_types = "token_type_ids" in tokenizer.model_input_names
    if has_types:
        arrays["token_type_ids"] = np.zeros((size, length), np.uint8)
    for start in range(0, size, CHUNK):
        rows = [list(column[start : start + CHUNK]) for column in texts]
        encoded = tokenizer(*rows, truncation=True, max_length=length, return_token_type_ids=has_types)
        for offset, ids in enumerate(encoded["input_ids"]):
            arrays["input_ids"][start + offset, : len(ids)] = ids
            arrays["attention_mask"][start + offset, : len(ids)] = 1
            if has_types:
                arrays["token_type_ids"][start + offset, : len(ids)] = encoded["token_type_ids"][offset]
    return arrays
