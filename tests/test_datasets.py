"""Every data set module offers a task; GLUE is read from a folder or the cache, or one line says what to do."""

import json
import shutil

import datasets
import numpy as np
import pyarrow
import pytest
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from fedquad import discover
from fedquad.errors import DeviceError, SpecError
from fedquad.learn.corpus import _rows
from fedquad.learn.tables import Request
from fedquad.learn.task import find_task, task_names
from fedquad.onboard import own_data
from fedquad.spec import DataSpec

GLUE = {"mnli": 3, "qqp": 2, "qnli": 2, "sst2": 2}


@pytest.fixture(autouse=True)
def no_network_and_nothing_remembered(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    _rows.cache_clear()


@pytest.mark.parametrize("name", task_names())
def test_every_module_offers_a_task_of_its_name(name):
    task = find_task(DataSpec(name=name))
    assert task.name == name
    assert 1 <= len(task.columns) <= 2
    objective = discover.objective(task.objective)
    assert len(task.labels) >= 2 or not objective.outputs(task.labels)
    assert set(task.metrics) <= {metric.name for metric in objective.metrics}
    assert ("f1" in task.metrics) == name.endswith("qqp")


def rows_of(task, size, has_names):
    columns = {name: [f"{name} {i}" for i in range(size)] for name in task.columns}
    labels = [i % len(task.labels) for i in range(size)]
    return columns | {"label": [task.labels[i] for i in labels] if has_names else labels}


def write_split(folder, split, columns, ending):
    folder.mkdir(exist_ok=True)
    path = folder / f"{split}{ending}"
    if ending == ".parquet":
        parquet.write_table(pyarrow.table(columns), path)
    elif ending == ".csv":
        arrow_csv.write_csv(pyarrow.table(columns), path)
    else:
        path.write_text("".join(json.dumps(dict(zip(columns, row))) + "\n" for row in zip(*columns.values())))


@pytest.mark.parametrize("has_names", [False, True])
@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("name", GLUE)
def test_glue_comes_from_a_folder_in_any_of_three_formats(name, ending, has_names, tmp_path):
    task = find_task(DataSpec(name=name))
    assert len(task.labels) == GLUE[name]
    write_split(tmp_path, "train", rows_of(task, 60, has_names), ending)
    write_split(tmp_path, "validation_matched" if name == "mnli" else "validation", rows_of(task, 9, has_names), ending)
    train, validation, test = (
        task.load(Request(split=split, source=str(tmp_path))) for split in ("train", "validation", "test")
    )
    assert (len(train), len(validation), len(test)) == (57, 3, 9)
    assert test.labels == tuple(i % len(task.labels) for i in range(9))
    assert test.columns[task.columns[0]][4] == f"{task.columns[0]} 4"
    held, used = (set(table.columns[task.columns[0]]) for table in (validation, train))
    assert not held & used
    assert "hidden" in task.note


def test_rows_are_drawn_by_the_seed_and_keep_their_labels(tmp_path):
    task = find_task(DataSpec(name="sst2"))
    write_split(tmp_path, "train", rows_of(task, 100, False), ".csv")
    write_split(tmp_path, "validation", rows_of(task, 9, False), ".csv")

    def drawn(seed):
        return task.load(Request(split="train", size=20, seed=seed, source=str(tmp_path)))

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    for text, label in zip(drawn(0).columns["sentence"], drawn(0).labels):
        assert int(text.split()[1]) % 2 == label


def test_more_rows_than_there_are_is_refused(tmp_path):
    task = find_task(DataSpec(name="sst2"))
    write_split(tmp_path, "validation", rows_of(task, 9, False), ".csv")
    with pytest.raises(DeviceError, match=r"data\.test asks for 10 examples, but nyu-mll/glue/sst2 has 9"):
        task.load(Request(split="test", size=10, source=str(tmp_path)))


def test_hubs_file_names_and_several_files_a_split_are_understood(tmp_path):
    task = find_task(DataSpec(name="sst2"))
    for part in range(2):
        write_split(tmp_path, f"validation-0000{part}-of-00002", rows_of(task, 4, False), ".parquet")
    assert len(task.load(Request(split="test", source=str(tmp_path)))) == 8


def test_text_that_looks_like_a_number_stays_text(tmp_path):
    (tmp_path / "validation.csv").write_text("sentence,label\n007,1\n1e5,0\n,1\n")
    table = find_task(DataSpec(name="sst2")).load(Request(split="test", source=str(tmp_path)))
    assert table.columns["sentence"] == ("007", "1e5", "")


def named(folder, **other):
    return DataSpec(
        **({"name": "stars", "source": str(folder), "text_columns": ("text",), "label_column": "stars"} | other)
    )


def test_any_set_is_used_by_naming_its_columns(tmp_path):
    for split in ("train", "validation", "test"):
        write_split(tmp_path, split, {"text": ["a", "b", "c"], "stars": [10, 9, 10], "user": [1, 1, 2]}, ".csv")
    task = find_task(named(tmp_path))
    assert task.labels == ("9", "10")
    table = task.load(Request(split="train", source=str(tmp_path)))
    assert table.labels == (1, 0, 1)
    assert table.columns == {"text": ("a", "b", "c"), "user": ("1", "1", "2")}
    assert task.note == ""


def test_a_hidden_test_split_is_replaced_by_validation_and_said_so(tmp_path):
    for split, stars in (("train", [i % 2 for i in range(40)]), ("validation", [0, 1]), ("test", [-1, -1, -1])):
        write_split(tmp_path, split, {"text": [str(i) for i in range(len(stars))], "stars": stars}, ".jsonl")
    task = find_task(named(tmp_path))
    sizes = [len(task.load(Request(split=split, source=str(tmp_path)))) for split in ("train", "validation", "test")]
    assert sizes == [38, 2, 2]
    assert "validation split" in task.note


def test_wrong_columns_labels_and_folders_are_named(tmp_path):
    for split in ("train", "test"):
        write_split(tmp_path, split, {"text": ["a", "b"] * 10, "stars": [0, 1] * 10}, ".csv")
    with pytest.raises(DeviceError, match="has no column 'body'; it has: text, stars"):
        find_task(named(tmp_path, text_columns=("body",))).load(Request(split="train", source=str(tmp_path)))
    write_split(tmp_path, "test", {"text": ["a"], "stars": [7]}, ".csv")
    with pytest.raises(DeviceError, match="row 0: the label is '7', but the task's are: 0, 1"):
        find_task(named(tmp_path)).load(Request(split="test", source=str(tmp_path)))
    with pytest.raises(DeviceError, match="no such folder"):
        find_task(named(tmp_path / "gone"))
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(DeviceError, match=r"put train\.parquet \(or \.csv, \.jsonl\)"):
        find_task(DataSpec(name="qqp")).load(Request(split="train", source=str(empty)))


def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path):
    for ending in (".parquet", ".jsonl"):
        (tmp_path / f"validation{ending}").write_text("neither")
        with pytest.raises(DeviceError, match=rf"validation\{ending} cannot be read as {ending[1:]}: "):
            find_task(DataSpec(name="sst2")).load(Request(split="test", source=str(tmp_path)))
        (tmp_path / f"validation{ending}").unlink()


def test_an_unknown_set_is_refused_with_those_there_are():
    with pytest.raises(SpecError, match=r"mini-nli.*stsb; any other set needs data\.text_columns"):
        find_task(DataSpec(name="imdb"))


def test_no_network_and_nothing_cached_is_one_line_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(
        DeviceError, match=r"set data\.source to a folder with train\.parquet.*mini-\* tasks need"
    ) as error:
        find_task(DataSpec(name="mnli")).load(Request(split="train"))
    assert "\n" not in str(error.value)


def test_glue_comes_from_the_cache_when_there_is_no_network(tmp_path, monkeypatch):
    task = find_task(DataSpec(name="sst2"))
    for split, size in (("train", 40), ("validation", 6)):
        write_split(tmp_path / "files", split, rows_of(task, size, False), ".parquet")
    made = datasets.load_dataset(
        "parquet",
        data_files={split: str(tmp_path / "files" / f"{split}.parquet") for split in ("train", "validation")},
        features=datasets.Features(
            {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=task.labels)}
        ),
        cache_dir=str(tmp_path / "made"),
    )
    cached = tmp_path / "cache" / "nyu-mll___glue" / "sst2" / "0.0.0" / "0123"
    cached.mkdir(parents=True)
    for split, part in made.items():
        file = part.cache_files[0]["filename"]
        shutil.copy(file, cached / f"glue-{split}.arrow")
    info = json.loads((cached / file).with_name("dataset_info.json").read_text())
    info |= {"config_name": "sst2", "dataset_name": "glue", "builder_name": "glue"}
    (cached / "dataset_info.json").write_text(json.dumps(info))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    table = task.load(Request(split="test"))
    assert table.labels == (0, 1, 0, 1, 0, 1)
    assert len(task.load(Request(split="train"))) == 38
    assert np.isin(task.load(Request(split="validation")).labels, (0, 1)).all()


@pytest.mark.parametrize("name", sorted(name for name in task_names() if name.startswith("mini-")))
def test_a_device_without_examples_gets_some_of_an_embedded_task_and_no_other_device_the_same(tmp_path, name):
    first, second = (own_data.rows(name, device) for device in ("a-0", "a-1"))
    assert first != second
    assert first == own_data.rows(name, "a-0")
    lines = [json.loads(line) for line in first.splitlines()]
    assert len(lines) == own_data.MADE_EXAMPLES
    task = find_task(DataSpec(name=name))
    assert set(lines[0]) == {*task.columns, *(() if task.objective == "causal_lm" else ("label",))}
    assert own_data.objective_of(name, "") == task.objective
