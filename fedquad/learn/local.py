"""Devices' own examples (data.partition `local`): what lies in a device's folder is that device's, and nobody deals.

    SOURCE/devices/jetson-tx2/lab-1/train.csv       the simulated fleet: of a board's folders the first by name take part
    SOURCE/devices/jetson-tx2/lab-2/train.jsonl
    SOURCE/validation.csv, SOURCE/test.csv          what the server scores by

A real device encodes the same folder where it lies, and has the same rows to the bit:

    describe_local(folder, ("text",), "stars")                     # {"examples": 812, "labels": ["1", "2", "5"]}
    describe_local(folder, ("text",), "stars", "regression")       # {"examples": 812, "labels": ["1.0", "5.0"]}
    read_local(folder, data, model, ("1", "2", "3", "5"), cache)   # Encoded, for a campaign with these labels

With `data.evaluation: devices` a device holds a tenth of its examples back from training, and the fleet is scored by those.

A folder's files are read within bounds, never by a link that leads out of it; nothing in them is unpickled.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fedquad import rng
from fedquad.errors import DeviceError, SpecError, quoted, shown
from fedquad.learn import tokens
from fedquad.learn.corpus import (
    as_text,
    corpus_files,
    files_of,
    labelled_elsewhere,
    labels_of,
    learned_of,
    read_file,
    truths,
)
from fedquad.learn.tables import Request, Split, Table, TextTask
from fedquad.learn.tokens import Encoded
from fedquad.spec import NAME, NAMED, DataSpec, ModelSpec
from fedquad.types import Ints

Own = tuple[Mapping[str, tuple[str, ...]], tuple[str, ...]]  # texts by column, labels
NOTHING: Own = ({}, ())
CLASSES, TAGS = "classification", "token_classification"
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
MOST_BYTES = 1 << 30  # of a device's training files
MOST_EXAMPLES = 10_000_000  # of a device
MOST_LABELS, MOST_LETTERS = 1000, 200  # more kinds of labels, or longer ones, are no classes but another column


def folders(source: str, boards: Mapping[str, int], elsewhere: Collection[str] = ()) -> tuple[str, ...]:
    """Each device's folder below `source`, in the order of the fleet; empty for devices whose board is `elsewhere`."""
    found: list[str] = []
    for board, count in boards.items():
        if not NAME.fullmatch(board):  # it becomes a part of a path before it is looked for among the boards
            raise SpecError(f"fleet.boards names {quoted(board)}, but {NAMED}")
        found += (
            [""] * count if board in elsewhere else _folders_of(Path(source).expanduser() / "devices" / board, count)
        )
    return tuple(found)


def _folders_of(place: Path, count: int) -> list[str]:
    there = sorted(item.name for item in place.iterdir() if is_device(item)) if place.is_dir() else []
    if len(there) < count:
        raise SpecError(
            f"fleet.boards has {count} devices of {place.name}, but {place} holds {len(there)} folders with a device's "
            f"examples; add some, or ask for fewer"
        )
    return [str(place / name) for name in there[:count]]


def is_device(folder: Path) -> bool:
    """Whether a folder is a device's; those that begin with a dot are tools'."""
    return folder.is_dir() and not folder.name.startswith(".")


def describe_local(
    folder: str | Path, text_columns: Sequence[str], label_column: str, objective: str = CLASSES
) -> dict[str, Any]:
    """What a device says of its examples: how many there are, and which labels they have, or between which numbers they lie."""
    _, labels = _own(Path(folder), text_columns, "" if objective == "causal_lm" else label_column, objective)
    return {"examples": len(labels), "labels": list(union(labels, objective=objective))}


def union(*labels: Iterable[str], objective: str = CLASSES) -> tuple[str, ...]:
    """The labels of a campaign: those of its devices together, as the objective has them (`corpus.labels_of`)."""
    every = [label for one in labels for label in one]
    if objective == "regression" and not every:
        return ()
    found = labels_of(objective, every)
    if len(found) > MOST_LABELS:
        raise DeviceError(
            f"there are {len(found)} different labels, but at most {MOST_LABELS}; is data.label_column the right one?"
        )
    return found


def objective_of(data: DataSpec) -> str:
    """What devices learn of their own examples: as the campaign says, else as the task that it is scored by has it."""
    from fedquad.learn.task import find_task, task_names

    if data.objective or data.source or data.name not in task_names():
        return learned_of(data)[0]
    return find_task(DataSpec(name=data.name)).objective


def shares(examples: int, evaluation: str = "devices") -> Mapping[Split, Ints]:
    """Which of a device's examples are trained on. Where devices score, a tenth is held back, at least one: the same for
    whoever asks; every second of them chooses the best round, the others are the test."""
    order = rng.stream("held back", examples).permutation(examples)
    held = order[: max(1, examples // 10)] if evaluation == "devices" else order[:0]
    parts: dict[Split, Ints] = {"train": order[len(held) :], "validation": held[1::2], "test": held[::2]}
    return {split: np.sort(rows) for split, rows in parts.items()}


def read_local(
    folder: str | Path,
    data: DataSpec,
    model: ModelSpec,
    labels: Sequence[str],
    cache: Path,
    split: Split = "train",
) -> Encoded:
    """Encode a device's share of a split for a campaign with these labels; tokenised once, as everywhere, under `cache`."""
    objective = objective_of(data)
    task = labelled_elsewhere(data, labels, objective)
    own = _own_of(folder, data, objective)
    _check_known(folder, own[1], labels, objective)
    table = _table([_part(own, shares(len(own[1]), data.evaluation)[split])], task)
    kept = tokens.keep(task, [(split, table, "")], data, model, cache)
    return tokens.read(Path(kept["splits"][split]["path"]))


def _check_known(folder: str | Path, found: Iterable[str], labels: Sequence[str], objective: str) -> None:
    """Refuse a class or a tag that the campaign has not; numbers and answers are what they are."""
    if objective not in (CLASSES, TAGS):
        return
    known = set(labels)
    for label in found:
        for one in label.split() if objective == TAGS else [label]:
            if one not in known:
                raise DeviceError(
                    f"{folder} has the label {quoted(one)}, but the campaign's are: {shown(', '.join(labels))}"
                )


def prepare(
    data: DataSpec, model: ModelSpec, seed: int, cache: Path, folders: Sequence[str], labels: Sequence[str] = ()
) -> dict[str, Any]:
    """As `tokens.prepare`, with each device's rows after another in the training split; `devices` says how many each has.

    `labels` are those of devices whose folders are not here (empty in `folders`, with no rows); the answer's
    `label_names` are those of all devices. Where devices score, the other splits are theirs too, and say so likewise.
    """
    objective = objective_of(data)
    own = [_own_of(one, data, objective) if one else NOTHING for one in folders]
    task = scored_by(data, union(labels, *(found for _, found in own), objective=objective))
    parts = [shares(len(found), data.evaluation) for _, found in own]
    sizes = {split: [len(part[split]) for part in parts] for split in SPLITS}
    scored: Mapping[Split, int | None] = {"validation": data.validation, "test": data.test}

    def tables() -> Iterable[tuple[Split, Table, str]]:
        for split in SPLITS:
            if split == "train" or data.evaluation == "devices":
                mine = [_part(one, part[split]) for one, part in zip(own, parts)]
                yield split, _table(mine, task), ""
            else:
                yield split, task.load(Request(split=split, size=scored[split], seed=seed, source=data.source)), ""

    answer = tokens.keep(task, tables(), data, model, cache)
    if data.evaluation == "devices":
        for split in scored:
            _refuse_unscored(split, sizes[split], folders)
            answer["splits"][split]["devices"] = sizes[split]
    return {**answer, "devices": sizes["train"], "label_names": list(task.labels)}


def scored_by(data: DataSpec, labels: Sequence[str]) -> TextTask:
    """What the server scores by: the source's own splits, or, without a source, those of an embedded task."""
    from fedquad.learn.task import find_task, task_names

    if data.source or data.name not in task_names():
        return labelled_elsewhere(data, labels, objective_of(data))
    task = find_task(replace(data, partition="iid", text_columns=(), label_column=""))
    names = union(labels, task.labels, objective=task.objective)
    truth_of = truths(task.objective, names)

    def load(request: Request) -> Table:
        table = task.load(request)
        written = (as_written(task, label) for label in table.labels)
        return replace(table, labels=tuple(truth_of(label, f"{task.name}, {request.split}") for label in written))

    return replace(task, labels=names, load=load)


def as_written(task: TextTask, label: Any) -> Any:
    """A label as a device's file has it."""
    if task.objective == TAGS:
        return " ".join(task.labels[tag] for tag in label)
    return label if task.objective == "regression" else task.labels[label]


def _refuse_unscored(split: str, sizes: Sequence[int], folders: Sequence[str]) -> None:
    if any(folders) and not sum(sizes):
        raise DeviceError(
            f"data.evaluation is 'devices', but the tenths that they hold back leave no example for {split}; a device with "
            "20 examples has one for validation and one for test"
        )


def _part(own: Own, rows: Ints) -> Own:
    texts, labels = own
    return {name: tuple(column[row] for row in rows) for name, column in texts.items()}, tuple(
        labels[row] for row in rows
    )


def _table(parts: Sequence[Own], task: TextTask) -> Table:
    """Devices' rows one after another."""
    truth_of = truths(task.objective, task.labels)
    every = (label for _, found in parts for label in found)
    return Table(
        columns={name: tuple(text for texts, _ in parts for text in texts.get(name, ())) for name in task.columns},
        labels=tuple(truth_of(label, f"{task.name}, example {at}") for at, label in enumerate(every)),
    )


def _own_of(folder: str | Path, data: DataSpec, objective: str) -> Own:
    _, columns, label_column = learned_of(data)
    return _own(Path(folder), columns, "" if data.conversation else label_column, objective)


def _own(folder: Path, text_columns: Sequence[str], label_column: str, objective: str = CLASSES) -> Own:
    """A folder's training rows, in the order of its files; without a column of labels these are empty."""
    if not folder.is_dir():
        raise DeviceError(f"there is no folder {str(folder)!r} with a device's examples on this machine")
    files = files_of(folder, "train")
    if not files:
        raise DeviceError(f"{folder} holds no examples of a device's; put {corpus_files('train')} there")
    _check_files(folder, files)
    texts: dict[str, list[str]] = {name: [] for name in text_columns}
    labels: list[str] = []
    for file in files:
        rows = read_file(file)
        columns = [*texts.items(), *([(label_column, labels)] if label_column else [])]
        for name, column in columns if rows else ():
            if name not in rows:
                raise DeviceError(f"{file} has no column {name!r}; it has: {shown(', '.join(map(str, rows)))}")
            column.extend(as_text(value) for value in rows[name])
        if not label_column:
            labels += [""] * len(next(iter(rows.values()), ()))
    if label_column:
        _check_labels(folder, labels, objective)
    if len(labels) > MOST_EXAMPLES:
        raise DeviceError(f"{folder} holds {len(labels)} examples, but a device may have {MOST_EXAMPLES}")
    return {name: tuple(column) for name, column in texts.items()}, tuple(labels)


def _check_files(folder: Path, files: Sequence[Path]) -> None:
    """Refuse what is no plain file inside the folder, and more than is meant to be read."""
    home, size, rows = folder.resolve(), 0, 0
    for file in files:
        where = file.resolve()
        if not where.is_file() or not where.is_relative_to(home):
            raise DeviceError(
                f"{file} is no file inside {folder}; a device's examples are read from its own folder alone"
            )
        size += where.stat().st_size
        if file.suffix == ".parquet":
            in_rows, in_bytes = _promised(file)
            rows, size = rows + in_rows, size + in_bytes
    if size > MOST_BYTES or rows > MOST_EXAMPLES:
        raise DeviceError(
            f"{folder} holds {size} bytes of examples, but a device may have {MOST_BYTES}, in at most {MOST_EXAMPLES} rows"
        )


def _promised(file: Path) -> tuple[int, int]:
    """Rows and bytes that a Parquet file unfolds to, by its own account."""
    from pyarrow import parquet  # type: ignore[import-untyped]

    try:
        about = parquet.read_metadata(file)
        return about.num_rows, sum(about.row_group(at).total_byte_size for at in range(about.num_row_groups))
    except (OSError, ValueError) as error:
        raise DeviceError(f"{file} cannot be read as parquet: {' '.join(str(error).split())}") from error


def _check_labels(folder: Path, labels: Sequence[str], objective: str) -> None:
    for row, label in enumerate(labels):
        each = label.split() if objective == TAGS else [label]
        if not label or any(len(one) > MOST_LETTERS for one in each):
            raise DeviceError(
                f"{folder}, example {row}: the label is {quoted(label)}; each has one, of at most {MOST_LETTERS} letters"
            )
