"""A device's examples are what lies in its folder: the same rows for the simulated fleet and the real device, or a line that says why not."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_folders import BOARDS, LAYOUT, data, make, rows, write
from tiny import a_spec, write_model

from fedquad.errors import DeviceError, SpecError
from fedquad.fleets.partition import own
from fedquad.learn import local, tokens
from fedquad.learn.task import find_task
from fedquad.spec import CampaignSpec, FleetSpec, ModelSpec

SIZES = [count for _, _, count in LAYOUT]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return a_spec(write_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make(tmp_path / "source")


def prepared(source: Path, model: ModelSpec, cache: Path, seed: int = 0, **other: Any) -> dict[str, Any]:
    return local.prepare(data(source, **other), model, seed, cache, local.folders(str(source), BOARDS))


def test_the_first_folders_of_a_board_are_its_devices_in_the_order_of_the_fleet(source: Path) -> None:
    found = local.folders(str(source), BOARDS)
    assert [str(Path(folder).relative_to(source / "devices")) for folder in found] == [place for place, _, _ in LAYOUT]
    turned = dict(reversed(BOARDS.items()))
    assert local.folders(str(source), turned) == (*found[1:], found[0])
    assert local.folders(str(source), BOARDS, elsewhere=["jetson-tx2"]) == (found[0], "", "", "")


def test_too_few_folders_are_counted_and_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"5 devices of jetson-tx2, but .*devices/jetson-tx2 holds 4 folders"):
        local.folders(str(source), {"jetson-tx2": 5})
    with pytest.raises(SpecError, match=r"1 devices of jetson-orin-nano, but .* holds 0 folders"):
        local.folders(str(source), {"jetson-orin-nano": 1})
    assert local.folders(str(source), {"jetson-orin-nano": 0}) == ()
    for board in ("../..", "/etc", "jetson-tx2/a-small", ""):
        with pytest.raises(SpecError, match=r"names .* a name is a letter"):
            local.folders(str(source), {board: 1})


def test_a_device_encodes_bit_for_bit_what_the_simulated_fleet_has_of_it(
    source: Path, model: ModelSpec, tmp_path: Path
) -> None:
    answer = prepared(source, model, tmp_path / "server")
    assert json.loads(json.dumps(answer)) == answer
    assert (answer["devices"], answer["label_names"], answer["labels"]) == (SIZES, ["a", "b", "c"], 3)
    whole = tokens.read(Path(answer["splits"]["train"]["path"]))
    for folder, shard in zip(local.folders(str(source), BOARDS), own(answer["devices"])):
        elsewhere = data("")  # a device has no copy of the server's
        mine = local.read_local(folder, elsewhere, model, answer["label_names"], tmp_path / "device")
        assert_same(mine, whole.rows(shard))
        assert len(mine) == local.describe_local(folder, ("text",), "kind")["examples"]
    assert sum(SIZES) == len(whole)


def assert_same(mine: tokens.Encoded, theirs: tokens.Encoded) -> None:
    for name in ("input_ids", "attention_mask", "labels"):
        assert getattr(mine, name).dtype == getattr(theirs, name).dtype
        assert getattr(mine, name).tobytes() == getattr(theirs, name).tobytes()
    assert mine.token_type_ids is theirs.token_type_ids is None


def test_where_devices_score_each_holds_back_the_same_tenth_as_the_simulated_fleet(
    source: Path, model: ModelSpec, tmp_path: Path
) -> None:
    for split in ("validation.csv", "test.jsonl"):
        (source / split).unlink()
    answer = prepared(source, model, tmp_path / "server", evaluation="devices")
    counts = {split: answer["splits"][split].get("devices", answer["devices"]) for split in local.SPLITS}
    assert counts == {"train": [22, 2, 0, 27], "validation": [1, 0, 0, 1], "test": [1, 1, 0, 1]}
    spec = data("", evaluation="devices")
    for split in local.SPLITS:
        whole = tokens.read(Path(answer["splits"][split]["path"]))
        for folder, shard in zip(local.folders(str(source), BOARDS), own(counts[split])):
            mine = local.read_local(folder, spec, model, answer["label_names"], tmp_path / "device", split)
            assert_same(mine, whole.rows(shard))


@given(examples=st.integers(0, 400))
def test_a_tenth_is_held_back_and_every_example_has_one_use(examples: int) -> None:
    parts = local.shares(examples)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(examples))
    held = len(parts["validation"]) + len(parts["test"])
    assert held == min(examples, max(1, examples // 10))
    assert 0 <= len(parts["test"]) - len(parts["validation"]) <= 1
    assert local.shares(examples, "server")["train"].tolist() == list(range(examples))


def test_tenths_that_leave_nothing_to_choose_the_best_round_by_are_refused(
    source: Path, model: ModelSpec, tmp_path: Path
) -> None:
    folders = local.folders(str(source), {"jetson-tx2": 2})
    with pytest.raises(DeviceError, match="leave no example for validation"):
        local.prepare(data(source, evaluation="devices"), model, 0, tmp_path, folders)


def test_a_device_says_how_many_examples_and_which_labels_it_has(source: Path) -> None:
    said = [local.describe_local(folder, ("text",), "kind") for folder in local.folders(str(source), BOARDS)]
    assert [one["examples"] for one in said] == SIZES
    assert [one["labels"] for one in said] == [["a", "b"], ["a", "b"], [], ["a", "b", "c"]]
    assert local.union(*(one["labels"] for one in said)) == ("a", "b", "c")


def test_labels_are_in_order_of_value_then_of_name() -> None:
    assert local.union(["10", "9", "b"], ["-1", "a", "9"], ["²", "--2", "01", "1"]) == (
        *("-1", "01", "1", "9", "10"),
        *("--2", "a", "b", "²"),
    )


@given(labels=st.lists(st.text("-0129²ab", max_size=4), max_size=8))
def test_the_order_of_labels_depends_on_nothing_else(labels: list[str]) -> None:
    assert local.union(labels) == local.union(reversed(labels)) == local.union(*([one] for one in labels))


def test_the_server_of_a_real_fleet_prepares_what_it_scores_by_with_the_labels_it_is_told(
    source: Path, model: ModelSpec, tmp_path: Path
) -> None:
    answer = local.prepare(data(source), model, 0, tmp_path, ("", ""), labels=("c", "a", "b", "z"))
    assert answer["label_names"] == ["a", "b", "c", "z"]
    assert answer["devices"] == [0, 0]
    assert [answer["splits"][name]["size"] for name in ("train", "validation", "test")] == [0, 8, 12]
    test = tokens.read(Path(answer["splits"]["test"]["path"]))
    assert test.labels.tolist() == [(200 + at) % 3 for at in range(12)]


def test_a_mixed_fleet_has_the_labels_of_both(source: Path, model: ModelSpec, tmp_path: Path) -> None:
    folders = local.folders(str(source), BOARDS, elsewhere=["jetson-tx2"])
    answer = local.prepare(data(source), model, 0, tmp_path, folders, labels=("c", "0"))
    assert answer["label_names"] == ["0", "a", "b", "c"]
    assert answer["devices"] == [SIZES[0], 0, 0, 0]


def test_the_campaigns_seed_changes_nothing_and_any_row_does(source: Path, model: ModelSpec, tmp_path: Path) -> None:
    def digest(seed: int = 0) -> str:
        train = prepared(source, model, tmp_path / "cache", seed)["splits"]["train"]
        return str(train["digest"])

    first = digest()
    assert digest(1) == first
    write(source / "devices/jetson-tx2/a-small/train.csv", rows(15, 3))
    assert digest() != first


@pytest.mark.parametrize(("missing", "named"), [("validation.csv", "validation"), ("test.jsonl", "test")])
def test_nothing_is_held_out_from_train_for_a_split_that_is_missing(
    missing: str, named: str, source: Path, model: ModelSpec, tmp_path: Path
) -> None:
    (source / missing).unlink()
    with pytest.raises(
        DeviceError, match=rf"nothing is held out from train.* has no {named} split.*put {named}\.parquet"
    ):
        prepared(source, model, tmp_path)
    (source / f"{named}.csv").write_text("text,kind\nw1,-1\nw2,\n")
    with pytest.raises(DeviceError, match=f"no {named} split with labels"):
        prepared(source, model, tmp_path)


def test_a_label_that_only_the_server_has_is_named(source: Path, model: ModelSpec, tmp_path: Path) -> None:
    write(source / "test.jsonl", rows(0, 3, "q"))
    with pytest.raises(DeviceError, match="the label is 'q', but the task's are: a, b, c"):
        prepared(source, model, tmp_path)


def test_a_label_that_the_campaign_does_not_have_is_named(source: Path, model: ModelSpec, tmp_path: Path) -> None:
    (folder, *_) = local.folders(str(source), BOARDS)
    with pytest.raises(DeviceError, match=r"agx-1 has the label 'b', but the campaign's are: a, c"):
        local.read_local(folder, data(source), model, ("a", "c"), tmp_path)


BAD = (
    ({}, "holds no examples"),
    ({"train.csv": "text,other\nw1,a\n"}, "has no column 'kind'; it has: text, other"),
    ({"train.csv": "kind\na\n"}, "has no column 'text'"),
    ({"train.csv": "text,kind\nw1,\n"}, "example 0: the label is ''"),
    ({"train.csv": "text,kind\nw1\n"}, "example 0: the label is ''"),
    ({"train.csv": f"text,kind\nw1,{'a' * 201}\n"}, "of at most 200 letters"),
    ({"train.csv": f"text,kind\n{'w' * 200_000},a\n"}, "cannot be read as csv: field larger than field limit"),
    ({"train.csv": "text,kind\n" + "".join(f"w,{at}\n" for at in range(1001))}, "1001 different labels"),
    ({"train.jsonl": "[1]\n"}, "cannot be read as jsonl"),
    ({"train.jsonl": '{"text": 1'}, "cannot be read as jsonl"),
    ({"train.jsonl": "[" * 100_000}, "cannot be read as jsonl"),
    ({"train.parquet": "text,kind\nw1,a\n"}, "cannot be read as parquet"),
    ({"train-0.csv": "text,kind\nw1,a\n", "train-1.csv": "text\nw1\n"}, r"train-1\.csv has no column 'kind'"),
)


@pytest.mark.parametrize(("files", "said"), BAD)
def test_what_cannot_be_read_as_examples_is_said_in_a_line(files: dict[str, str], said: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(DeviceError, match=said) as error:
        local.describe_local(tmp_path, ("text",), "kind")
    assert "\n" not in str(error.value)


def test_a_link_out_of_the_folder_is_not_followed_and_one_inside_is(tmp_path: Path) -> None:
    write(tmp_path / "secret.csv", rows(0, 3))
    for name in ("by-file", "by-folder", "inside"):
        (tmp_path / name).mkdir()
    (tmp_path / "by-file" / "train.csv").symlink_to(tmp_path / "secret.csv")
    write(tmp_path / "away" / "train.csv", rows(0, 3))
    (tmp_path / "by-folder" / "train").symlink_to(tmp_path / "away")
    for name in ("by-file", "by-folder"):
        with pytest.raises(DeviceError, match="is no file inside"):
            local.describe_local(tmp_path / name, ("text",), "kind")
    write(tmp_path / "inside" / "kept" / "rows.csv", rows(0, 3))
    (tmp_path / "inside" / "train.csv").symlink_to("kept/rows.csv")
    assert local.describe_local(tmp_path / "inside", ("text",), "kind")["examples"] == 3
    (tmp_path / "by-name").symlink_to(tmp_path / "inside")  # where a folder itself lies is its owner's business
    assert local.describe_local(tmp_path / "by-name", ("text",), "kind")["examples"] == 3


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.csv")
    with pytest.raises(DeviceError, match="is no file inside"):
        local.describe_local(tmp_path, ("text",), "kind")


def test_more_than_a_device_may_have_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(tmp_path / "train.csv", "wb") as file:
        file.truncate(local.MOST_BYTES + 1)  # a hole: no disk is used
    with pytest.raises(DeviceError, match=rf"holds {local.MOST_BYTES + 1} bytes of examples"):
        local.describe_local(tmp_path, ("text",), "kind")
    (tmp_path / "train.csv").unlink()
    write(tmp_path / "train.parquet", [{"text": "w1 " * 100_000, "kind": "a", "user": ""}] * 50)
    assert (tmp_path / "train.parquet").stat().st_size < 10**6  # it unfolds to 15 MB, were its rows not all the same
    monkeypatch.setattr(local, "MOST_EXAMPLES", 49)
    with pytest.raises(DeviceError, match="in at most 49 rows"):
        local.describe_local(tmp_path, ("text",), "kind")


def test_the_spec_says_what_goes_with_local(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"data\.train is 10, but with partition: local"):
        data(tmp_path, train=10)
    for other in ({"text_columns": ()}, {"label_column": ""}):
        with pytest.raises(SpecError, match=r"needs data\.text_columns and data\.label_column"):
            data(tmp_path, **other)
    with pytest.raises(SpecError, match=r"data\.evaluation is 'devices', but devices score .* partition: local"):
        data(tmp_path, partition="iid", evaluation="devices")
    with pytest.raises(SpecError, match=r"data\.test is 5, but devices score by all"):
        data(tmp_path, test=5, evaluation="devices")
    simulated = FleetSpec(boards=BOARDS)
    real = FleetSpec(boards=BOARDS, pools={board: board for board in BOARDS})
    for evaluation in ("server", "devices"):
        with pytest.raises(SpecError, match=r"data\.source is '', but with partition: local"):
            CampaignSpec(data=data("", evaluation=evaluation), fleet=simulated)
    assert CampaignSpec(data=data(""), fleet=real).data.partition == "local"
    assert CampaignSpec(data=data("", evaluation="devices"), fleet=real).data.evaluation == "devices"


def test_an_exported_adapter_can_name_the_task_without_the_devices(tmp_path: Path) -> None:
    task = find_task(data(tmp_path / "gone"))
    assert (task.columns, task.labels) == (("text",), ())


@given(sizes=st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_shards_are_consecutive_ranges(sizes: list[int]) -> None:
    parts = own(sizes)
    assert [len(part) for part in parts] == sizes
    assert np.concatenate(parts).tolist() == list(range(sum(sizes)))
    assert all(part.dtype == np.int64 for part in parts)
