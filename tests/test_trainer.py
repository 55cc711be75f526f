"""A real device's trainer does to the bit what the simulated fleet does over the same folder, whatever is learned, and scores likewise."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_objectives import COLUMNS, LINEARS, write_set
from tiny import a_spec, an_adapter, an_assignment, write_model

from fedquad import discover
from fedquad.errors import DeviceError
from fedquad.learn import jobs, local
from fedquad.learn.worker import Worker
from fedquad.objective import Counts
from fedquad.onboard.folder import DeviceFolder
from fedquad.onboard.trainer import Trainer
from fedquad.rounds import adapters, counted
from fedquad.rounds.unpack import Refused
from fedquad.spec import DataSpec, ModelSpec, TrainingSpec
from fedquad.types import ModelLayout

OPENING, ADAPTER = "0" * 64, "1" * 64
TRAINING = TrainingSpec(batch=8)


class Pair:
    """One device twice: behind a trainer of its own, and as the second of a simulated fleet of two."""

    def __init__(self, objective: str, folder: Path) -> None:
        is_causal = objective == "causal_lm"
        kind, targets = ("llama", LINEARS) if is_causal else ("roberta", ())
        self.model = a_spec(write_model(folder / "model", kind, causal=is_causal), max_length=16, targets=targets)
        self.data = DataSpec(
            name="tiny", source=str(write_set(folder / "set")), objective=objective, partition="local", evaluation="devices",
            **COLUMNS[objective],
        )  # fmt: skip
        for name in "ab":
            write_set(folder / "set" / "devices" / "jetson-tx2" / name)
        self.folders = local.folders(self.data.source, {"jetson-tx2": 2})
        self.worker, self.objective = Worker(), discover.objective(objective)
        self.simulate(folder)
        self.device = DeviceFolder(folder / "device")
        self.device.make()
        column = self.data.label_column or "label"
        self.trainer = Trainer(self.device, self.folders[1], self.model.name, column, objective)
        self.sent = an_adapter(self.layout)
        save_file(adapters.flatten(self.sent), self.device.received("adapter", ADAPTER))
        self.join()

    def simulate(self, folder: Path) -> None:
        self.prepared = local.prepare(self.data, self.model, 0, folder / "cache", self.folders)
        splits = {name: split["path"] for name, split in self.prepared["splits"].items()}
        opened = self.worker.open(
            jobs.Open(
                model=self.model, labels=self.prepared["labels"], greatest_rank=4, splits=splits, threads=1,
                objective=self.objective.name,
            )
        )  # fmt: skip
        self.backbone = opened["layout"]["digest"]

    @property
    def layout(self) -> ModelLayout:
        return self.worker.loaded().layout

    def join(self, **other: Any) -> None:
        known = jobs.Join(
            model=self.model, data=replace(self.data, source=""), objective=self.objective.name,
            labels=tuple(self.prepared["label_names"]), greatest_rank=4, training=TRAINING, backbone=self.backbone,
        )  # fmt: skip
        document = jobs.to_json(replace(known, **other))
        self.device.received("opening", OPENING).write_text(json.dumps(document))

    def ask(self, op: str, **more: Any) -> dict[str, Any]:
        request = {"op": op, "opening": OPENING, "adapter": ADAPTER, "adapter_digest": adapters.digest(self.sent)}
        return self.trainer.do({**request, **more}, lambda step: None)


@pytest.fixture(scope="module", params=sorted(COLUMNS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(request.param, tmp_path_factory.mktemp(request.param))


def test_a_status_says_how_many_examples_there_are_and_what_their_labels_make_of_them(pair: Pair) -> None:
    noted = pair.device.noted("trainer")
    assert (noted["examples"], noted["objective"]) == (48, pair.objective.name)
    wanted = {
        "classification": ["0", "1"],
        "regression": ["0.0", "1.0"],
        "token_classification": ["O", "B-a", "I-a"],
        "causal_lm": [],
    }
    assert noted["labels"] == wanted[pair.objective.name] == pair.prepared["label_names"]


def test_a_delta_is_that_of_the_simulated_device_over_the_same_folder(pair: Pair, tmp_path: Path) -> None:
    assignment, key = an_assignment(device=1, quantized=(1,)), (0, 0, 1, 1)
    start, end = pair.prepared["devices"][0], sum(pair.prepared["devices"])
    save_file({"1": np.arange(start, end)}, tmp_path / "shards")
    theirs = pair.worker.train(
        jobs.Train(
            assignment=assignment, training=TRAINING, adapter=str(pair.device.received("adapter", ADAPTER)),
            digest=adapters.digest(pair.sent), shards=str(tmp_path / "shards"), key=key, round=1, out=str(tmp_path / "delta"),
        )
    )  # fmt: skip
    plain = json.loads(json.dumps(jobs.asdict(assignment)))
    ours = pair.ask("train", assignment=plain, key=list(key), round=1)
    assert ours["report"]["failure"] == theirs["report"]["failure"] == ""
    assert (ours["delta"], ours["report"]["examples"]) == (theirs["delta"], theirs["report"]["examples"])
    assert ours["report"]["examples"] == end - start == 44
    mine, other = load_file(pair.device.outbox / "delta.safetensors"), load_file(tmp_path / "delta")
    assert mine.keys() == other.keys()
    assert all(mine[name].tobytes() == other[name].tobytes() for name in mine)


def test_what_it_counts_on_its_held_back_tenth_is_what_the_simulated_fleet_counts(pair: Pair) -> None:
    said = json.dumps(pair.ask("score")).encode()
    found = counted.read(said, pair.objective, pair.prepared["labels"], 10 * 16)
    path, digest = str(pair.device.received("adapter", ADAPTER)), adapters.digest(pair.sent)
    for split in counted.SPLITS:
        first, size = pair.prepared["splits"][split]["devices"]
        (chunk,) = jobs.evaluations(path, digest, split, first, first + size)
        theirs = Counts.from_json(pair.worker.evaluate(chunk))
        assert set(found[split].sums) == set(theirs.sums)
        for name, value in theirs.sums.items():
            assert found[split].sums[name].tobytes() == np.asarray(value, found[split].sums[name].dtype).tobytes(), name
        assert found[split].sums[name].shape == np.shape(value)


def test_counts_that_cannot_be_are_refused(pair: Pair) -> None:
    good = pair.ask("score")
    labels, most = pair.prepared["labels"], 10 * 16

    def read(**changes: Any) -> dict[str, Counts]:
        test = {**good["test"], **changes}
        return counted.read(json.dumps({**good, "test": test}).encode(), pair.objective, labels, most)

    assert np.isnan(read(loss=None)["test"].loss)
    for wrong in ({"count": -1}, {"count": most + 1}, {"count": 1.5}, {"loss": "much"}, {"loss": 1e300}, {"more": 1}):
        with pytest.raises(Refused, match="its"):
            read(**wrong)
    for name, value in good["test"].items():
        for wrong in ([[1, 2]], [value], None if name != "loss" and isinstance(value, int) else "x"):
            with pytest.raises(Refused):
                read(**{name: wrong})
    for text in (b"", b"[]", b"{}", b'{"test": NaN, "validation": null}', b"[" * 100_000):
        with pytest.raises(Refused):
            counted.read(text, pair.objective, labels, most)


def test_a_campaign_that_learns_something_else_is_refused_and_the_status_says_why(tmp_path: Path) -> None:
    pair = Pair("regression", tmp_path)
    pair.join(objective="classification", labels=("0.0", "1.0"))
    with pytest.raises(DeviceError, match="read for regression, but the campaign learns classification"):
        pair.ask("join")
    assert "--objective classification" in pair.device.noted("trainer")["problem"]


def test_an_embedded_task_says_itself_what_its_labels_are_for(tmp_path: Path) -> None:
    for name, objective in (("mini-sts", "regression"), ("mini-roles", "token_classification")):
        folder = DeviceFolder(tmp_path / name)
        folder.make()
        trainer = Trainer(folder, name)
        assert trainer.facts["objective"] == objective
        spec = DataSpec(name=name, partition="local", text_columns=("sentence1", "sentence2") if objective == "regression" else ("words",), label_column="label")  # fmt: skip
        mine = local.read_local(trainer.data, spec, ModelSpec(), trainer.facts["labels"], tmp_path / "cache")
        assert len(mine) == trainer.facts["examples"] == 256
