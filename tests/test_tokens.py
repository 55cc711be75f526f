"""Text is tokenised once, cached under the digest of all that made it, and read without torch."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny import WORDS, a_spec, write_model
from transformers import AutoTokenizer

from fedquad.errors import DeviceError
from fedquad.learn import tokens
from fedquad.learn.objectives import classification
from fedquad.spec import DataSpec


@pytest.fixture
def folder(tmp_path):
    """Rows of a little set of pairs with a user column, as JSON lines."""
    for split, size in (("train", 30), ("validation", 6), ("test", 5)):
        rows = [
            {
                "first": f"{WORDS[i]} {WORDS[i + 1]}",
                "second": " ".join(WORDS[: i % 20]),
                "kind": "ab"[i % 2],
                "user": i // 4,
            }
            for i in range(size)
        ]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return tmp_path


def a_set(folder, **other):
    return DataSpec(
        **(
            {"name": "pairs", "source": str(folder), "text_columns": ("first", "second"), "label_column": "kind"}
            | other
        )
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return a_spec(write_model(tmp_path_factory.mktemp("model")))


def test_what_is_prepared_is_what_the_tokenizer_gives(folder, model, tmp_path):
    prepared = tokens.prepare(a_set(folder), model, 0, tmp_path / "cache")
    assert (prepared["labels"], prepared["metrics"]) == (2, ["accuracy"])
    assert json.loads(json.dumps(prepared)) == prepared
    data = tokens.read(Path(prepared["splits"]["train"]["path"]))
    assert len(data) == prepared["splits"]["train"]["size"] == 30
    tokenizer = AutoTokenizer.from_pretrained(model.name)
    first = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    expected = tokenizer(
        [row["first"] for row in first],
        [row["second"] for row in first],
        truncation=True,
        max_length=12,
        padding="max_length",
    )
    assert data.input_ids.tolist() == expected["input_ids"]
    assert data.attention_mask.tolist() == expected["attention_mask"]
    assert data.labels.tolist() == [i % 2 for i in range(30)]
    assert data.lengths.tolist() == np.sum(expected["attention_mask"], axis=1).tolist()


def test_bert_gets_token_types(folder, tmp_path):
    write_model(tmp_path / "model", "bert")
    config = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    config["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps(config))
    prepared = tokens.prepare(a_set(folder), a_spec(tmp_path / "model"), 0, tmp_path / "cache")
    data = tokens.read(Path(prepared["splits"]["train"]["path"]))
    assert data.token_type_ids.shape == data.input_ids.shape
    assert data.rows([1]).token_type_ids.shape == (1, 12)


def test_the_same_is_not_tokenised_again_and_anything_else_is(folder, model, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    first = tokens.prepare(a_set(folder), model, 0, cache)
    monkeypatch.setattr(classification, "encode_texts", None)  # would fail if it were called
    assert tokens.prepare(a_set(folder), model, 0, cache) == first
    monkeypatch.undo()
    digests = {first["splits"]["train"]["digest"]}
    changes = [(a_set(folder), replace(model, max_length=8)), (a_set(folder, train=20), model)]
    changes += [(a_set(folder, partition="column", column="user"), model)]
    for data, spec in changes:
        digests.add(tokens.prepare(data, spec, 0, cache)["splits"]["train"]["digest"])
    assert len(digests) == 4
    assert {path.suffix for path in (cache / "tokens").iterdir()} == {".safetensors"}


def test_labels_and_groups_are_read_without_the_tokens(folder, model, tmp_path):
    data = a_set(folder, partition="column", column="user")
    splits = tokens.prepare(data, model, 0, tmp_path / "cache")["splits"]
    labels, groups = tokens.read_labels(Path(splits["train"]["path"]))
    assert labels.tolist() == [i % 2 for i in range(30)]
    assert len(np.unique(groups)) == 8
    assert (np.diff(groups) != 0).nonzero()[0].tolist() == [3, 7, 11, 15, 19, 23, 27]
    assert tokens.read_labels(Path(splits["test"]["path"]))[1] is None


def test_a_partition_column_that_is_not_there_is_refused(folder, model, tmp_path):
    with pytest.raises(DeviceError, match=r"data\.column is 'author'.*first, second, user"):
        tokens.prepare(a_set(folder, partition="column", column="author"), model, 0, tmp_path / "cache")


def test_rows_are_picked_in_the_order_asked_for(folder, model, tmp_path):
    data = tokens.read(Path(tokens.prepare(a_set(folder), model, 0, tmp_path)["splits"]["train"]["path"]))
    picked = data.rows([5, 2])
    assert (picked.input_ids == data.input_ids[[5, 2]]).all()
    assert len(data.rows([])) == 0


def test_a_write_that_was_cut_off_leaves_nothing_under_the_name(folder, model, tmp_path, monkeypatch):
    def fail(arrays, path, **metadata):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(tokens, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        tokens.prepare(a_set(folder), model, 0, tmp_path / "cache")
    assert list((tmp_path / "cache" / "tokens").iterdir()) == []


def test_tokens_that_are_gone_are_named(tmp_path):
    with pytest.raises(DeviceError, match="there are no tokens at"):
        tokens.read(tmp_path / "gone.safetensors")


def test_the_cached_file_is_plain_safetensors(folder, model, tmp_path):
    path = tokens.prepare(a_set(folder), model, 0, tmp_path)["splits"]["test"]["path"]
    assert {name: array.dtype.name for name, array in load_file(path).items()} == {
        "input_ids": "int32",
        "attention_mask": "uint8",
        "labels": "int64",
    }
