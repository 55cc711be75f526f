"""Rows of a labelled text set that exists: from a local folder of Parquet, CSV or JSON lines, or through `datasets`
from the Hub.

A folder holds one or more files a split, named by it: `train.csv`, `validation.jsonl`,
`test-00000-of-00002.parquet`. A set whose test labels are hidden is tested on its validation split, and then a
twentieth of its training rows, the same for every seed, is held out to choose the best round by.
"""

import csv
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fedquad import rng
from fedquad.errors import DeviceError, shown
from fedquad.learn.source import hub_problem
from fedquad.learn.tables import Request, Split, Table, TextTask
from fedquad.objectives import token_classification
from fedquad.spec import DataSpec
from fedquad.types import Ints

Rows = Mapping[str, Sequence[Any]]
MOST_HELD_OUT = 10_000
ENDINGS = (".parquet", ".csv", ".jsonl", ".json")
WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A set as others publish it: where it is on the Hub, and what its columns and splits are called."""

    hub: str
    config: str | None = None
    columns: tuple[str, ...]
    label_column: str = "label"
    train: str = "train"
    validation: str = "validation"  # empty: held out from the training split
    test: str = "test"


def glue(name: str, columns: tuple[str, ...], labels: tuple[str, ...], **other: Any) -> TextTask:
    """A GLUE task; none has public test labels, so its validation split is the test (of MNLI: the matched one)."""
    split = "validation_matched" if name == "mnli" else "validation"
    corpus = Corpus(hub="nyu-mll/glue", config=name, columns=columns, validation="", test=split)
    return TextTask(
        name=name,
        columns=columns,
        labels=labels,
        load=lambda request: read_table(corpus, labels, request, other.get("objective", "classification")),
        note=f"{name}'s test labels are hidden: test is its {split} split, and validation is held out from train",
        **other,
    )


def named_columns(data: DataSpec) -> TextTask:
    """A set without a module of its own, known by its columns; its labels are those of its training rows."""
    objective, columns, label_column = learned_of(data)
    corpus = Corpus(hub=data.name, columns=columns, label_column=label_column)
    there = {split: rows for split in ("validation", "test") if (rows := _rows(corpus, split, data.source)) is not None}
    if not there:
        raise DeviceError(f"{data.name!r} needs a validation or a test split besides train; {_where(data.source)}")
    if "test" not in there or _is_hidden(there["test"], corpus):
        corpus = replace(corpus, validation="", test="validation")
    elif "validation" not in there:
        corpus = replace(corpus, validation="")
    train = _rows(corpus, corpus.train, data.source)
    if train is None:
        raise missing(corpus, data.source)
    labels = labels_of(objective, _column(train, corpus.label_column, corpus))
    note = (
        ""
        if corpus.validation
        else f"test figures are of {data.name}'s {corpus.test} split, and validation is held out from train"
    )
    return TextTask(
        name=data.name,
        columns=columns,
        labels=labels,
        objective=objective,
        load=lambda request: read_table(corpus, labels, request, objective),
        note=note,
    )


def learned_of(data: DataSpec) -> tuple[str, tuple[str, ...], str]:
    """What named columns are learned for: the objective, the columns of text, the column of the labels."""
    objective = data.objective or ("causal_lm" if data.conversation else "classification")
    columns = data.conversation or data.text_columns
    if (objective == "causal_lm") != bool(data.conversation):
        raise DeviceError(
            f"data.objective is {data.objective!r} with the columns {', '.join(columns)}; causal_lm goes with "
            "data.prompt_column and data.answer_column, or data.messages_column, and only with them"
        )
    return objective, columns, columns[-1] if data.conversation else data.label_column


def labelled_elsewhere(data: DataSpec, labels: Sequence[str], objective: str = "") -> TextTask:
    """A set whose training rows and labels are its devices' own (partition `local`): the source holds what it is scored by."""
    named, columns, label_column = learned_of(data)
    objective = objective or named
    corpus = Corpus(hub=data.name, columns=columns, label_column=label_column)

    def load(request: Request) -> Table:
        rows = _rows(corpus, request.split, request.source)
        if rows is None or _is_hidden(rows, corpus):
            raise DeviceError(
                f"data.partition is 'local', so nothing is held out from train, and {data.name!r} has no {request.split} "
                f"split with labels in {request.source}; put {corpus_files(request.split)} there"
            )
        return read_table(corpus, labels, request, objective)

    return TextTask(name=data.name, columns=columns, labels=tuple(labels), objective=objective, load=load)


def read_table(corpus: Corpus, labels: Sequence[str], request: Request, objective: str = "classification") -> Table:
    """Return the rows asked for, drawn by the request's seed where fewer than all are."""
    name = {"train": corpus.train, "validation": corpus.validation or corpus.train, "test": corpus.test}[request.split]
    rows = _rows(corpus, name, request.source)
    if rows is None:
        raise missing(corpus, request.source)
    truth = _column(rows, corpus.label_column, corpus)
    picked = _belonging(corpus, request.split, len(truth))
    size = len(picked) if request.size is None else request.size
    if size > len(picked):
        raise DeviceError(f"data.{request.split} asks for {size} examples, but {_name(corpus)} has {len(picked)}")
    if size < len(picked):
        order = rng.stream(request.seed, "rows", _name(corpus), request.split).permutation(len(picked))
        picked = picked[np.sort(order[:size])]
    for column in corpus.columns:
        _column(rows, column, corpus)
    truth_of = truths(objective, labels)
    return Table(
        columns={
            key: tuple(as_text(values[i]) for i in picked)
            for key, values in rows.items()
            if key != corpus.label_column or key in corpus.columns
        },
        labels=tuple(truth_of(truth[i], f"{_name(corpus)}, {name}, row {i}") for i in picked),
    )


def _belonging(corpus: Corpus, split: Split, size: int) -> Ints:
    """Which rows of the file are the split's: all of them, unless validation is held out from training."""
    if corpus.validation or split == "test":
        return np.arange(size)
    order = rng.stream("held out", _name(corpus)).permutation(size)
    held = min(MOST_HELD_OUT, max(1, size // 20))
    return np.sort(order[:held] if split == "validation" else order[held:])


@lru_cache(maxsize=1)
def _rows(corpus: Corpus, split: str, source: str) -> Rows | None:
    """A split's columns, or None if there is no such split."""
    return _from_folder(Path(source).expanduser(), split) if source else _from_hub(corpus, split)


def _from_folder(folder: Path, split: str) -> Rows | None:
    if not folder.is_dir():
        raise DeviceError(f"data.source is {str(folder)!r}, but there is no such folder on this machine")
    files = files_of(folder, split)
    return _joined([read_file(file) for file in files]) if files else None


def files_of(folder: Path, split: str) -> list[Path]:
    """A split's files, in the order of their rows; none if the folder has no such split."""
    for name in (split, split.partition("_")[0]):  # MNLI's validation_matched may be called validation
        for ending in ENDINGS:  # one format: the same rows may be there in several
            places = (f"{name}{ending}", f"{name}-*{ending}", f"data/{name}-*{ending}", f"{name}/*{ending}")
            files = sorted(file for place in places for file in folder.glob(place))
            if files:
                return files
    return []


def read_file(file: Path) -> Rows:
    """A file's columns; none where it has neither rows nor a heading."""
    try:
        return _parse(file)
    except Exception as error:  # each format's reader fails in ways of its own
        raise DeviceError(f"{file} cannot be read as {file.suffix[1:]}: {shown(str(error))}") from error


def _parse(file: Path) -> Rows:
    if file.suffix == ".parquet":
        from pyarrow import parquet  # type: ignore[import-untyped]

        table: Rows = parquet.read_table(file).to_pydict()
        return table
    with file.open(encoding="utf-8", newline="") as text:
        # Python's own csv keeps text as it stands; readers that guess types turn "007" into 7
        if file.suffix == ".csv":
            reader = csv.DictReader(text)
            records = list(reader)
            return {key: [record[key] for record in records] for key in reader.fieldnames or ()}
        records = [json.loads(line) for line in text if line.strip()]
    return {key: [record.get(key) for record in records] for key in (records[0] if records else {})}


def _joined(parts: Sequence[Rows]) -> Rows:
    return {key: [value for part in parts for value in part.get(key, ())] for key in parts[0]}


def _from_hub(corpus: Corpus, split: str) -> Rows | None:
    import datasets

    problem, was_offline = hub_problem(), datasets.config.HF_HUB_OFFLINE
    try:
        datasets.config.HF_HUB_OFFLINE = was_offline or bool(problem)  # then it goes to its cache at once
        loaded = datasets.load_dataset(corpus.hub, corpus.config)
    except Exception as error:  # the network, the Hub and the cache each fail in ways of their own
        raise missing(corpus, "", problem or type(error).__name__) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = was_offline
    if split not in loaded:
        return None
    part = loaded[split]
    names = getattr(part.features.get(corpus.label_column), "names", None)
    rows = {key: part[key][:] for key in part.column_names}
    if names:
        rows[corpus.label_column] = [names[value] if value >= 0 else "" for value in rows[corpus.label_column]]
    return rows


def missing(corpus: Corpus, source: str, reason: str = "") -> DeviceError:
    because = f" ({reason})" if reason else ""
    return DeviceError(
        f"data {_name(corpus)!r} is not here{because}: {_where(source)}, with the columns "
        f"{', '.join((*corpus.columns, corpus.label_column))}; the mini-* tasks need neither files nor a network"
    )


def _where(source: str) -> str:
    files = f"{corpus_files('train')}, {corpus_files('validation')}"
    if source:
        return f"put {files} into {source}"
    return f"set data.source to a folder with {files}, or fill the cache of `datasets` where there is a network"


def corpus_files(split: str) -> str:
    return f"{split}.parquet (or .csv, .jsonl)"


def _name(corpus: Corpus) -> str:
    return f"{corpus.hub}/{corpus.config}" if corpus.config else corpus.hub


def _column(rows: Rows, name: str, corpus: Corpus) -> Sequence[Any]:
    if name not in rows:
        raise DeviceError(f"{_name(corpus)} has no column {name!r}; it has: {', '.join(rows)}")
    return rows[name]


def _is_hidden(rows: Rows, corpus: Corpus) -> bool:
    return all(as_text(value) in ("", "-1") for value in rows.get(corpus.label_column, ()))


def as_text(value: Any) -> str:
    """A cell as text; a list, of words or of tags, with spaces between; messages as JSON."""
    if isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return " ".join("".join(str(item).split()) for item in value)
    return "" if value is None else str(value)


def labels_of(objective: str, truth: Sequence[Any]) -> tuple[str, ...]:
    """What a set's training labels make of it: its classes, its tags, or the least and the greatest number."""
    if objective == "causal_lm":
        return ()
    if objective == "regression":
        numbers = [_number(value, f"row {row}") for row, value in enumerate(truth)]
        return str(min(numbers)), str(max(numbers))
    if objective == "token_classification":
        return token_classification.in_order({tag for value in truth for tag in as_text(value).split()})
    return tuple(sorted({as_text(value) for value in truth}, key=natural))


def truths(objective: str, labels: Sequence[str]) -> Callable[[Any, str], Any]:
    """How a label is read: as a class, as a number, or as a tag a word."""
    index = {label: i for i, label in enumerate(labels)}
    if objective == "causal_lm":
        return lambda value, where: 0  # what is learned is in the text
    if objective == "regression":
        return _number
    if objective == "token_classification":
        return lambda value, where: tuple(_label(tag, index, where) for tag in as_text(value).split())
    return lambda value, where: _label(value, index, where)


def _number(value: Any, where: str) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise DeviceError(f"{where}: the label is {value!r}, but a number is learned (data.objective)")
    return found


def natural(label: str) -> tuple[bool, int, str]:
    """Numbers by value (10 after 9), then names."""
    return (False, int(label), label) if WHOLE.fullmatch(label) else (True, 0, label)


def _label(value: Any, index: Mapping[str, int], where: str) -> int:
    """A label's name as its index, or the index itself where the labels are named otherwise."""
    text = as_text(value)
    if text in index:
        return index[text]
    if text.isdigit() and int(text) < len(index):
        return int(text)
    raise DeviceError(f"{where}: the label is {text!r}, but the task's are: {', '.join(index)}")
