"""A release computes from kept updates what the release that kept them computed: plans, prices, merges, clocks, to the bit."""

import re

import numpy as np
import pytest
from replay import FIXTURES, Replay

from fedquad.rounds import adapters
from fedquad.store import files
from fedquad.store.manifest import SCHEMA

KEPT = sorted(FIXTURES.glob("schema-*.zip"))
ROUNDS = 3


def test_there_is_a_campaign_of_every_schema_since_the_second() -> None:
    assert {int(re.findall(r"\d+", path.name)[0]) for path in KEPT} == set(range(2, SCHEMA + 1))


@pytest.fixture(scope="module", params=KEPT, ids=lambda path: path.stem)
def replay(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Replay:
    return Replay(request.param, tmp_path_factory.mktemp("replay") / "small")


def test_the_kept_folder_is_sound_and_shown(replay: Replay) -> None:
    assert replay.folder.status() == "finished"
    for arm in replay.folder.arms():
        assert arm.check().last_round == ROUNDS
    shown = {f"{arm['label']}-s0": arm["state_digest"] for arm in replay.folder.summarise()["arms"]}
    assert shown == {arm.name: arm.rounds()[-1]["state_digest"] for arm in replay.folder.arms()}


@pytest.mark.parametrize("number", range(1, ROUNDS + 1))
@pytest.mark.parametrize("label", ["fedquad", "hetlora", "layersel", "inclusivefl"])
def test_every_round_is_computed_again_from_its_updates(replay: Replay, label: str, number: int) -> None:
    kept, found = replay.again(label, number)
    assert found == kept


def test_another_update_gives_another_round(replay: Replay) -> None:
    kept, _ = replay.again("fedquad", 2)
    trained = next(row["device"] for row in kept["assignments"] if not row["failure"])
    left = replay.updates / "fedquad-s0" / "round-0002" / f"device-{trained:04d}"
    path = left.with_suffix(".safetensors")
    tensors = {name: np.asarray(array) for name, array in files.read_tensors(path).items()}
    before, old = adapters.tensors_digest(tensors), path.read_bytes()
    name = sorted(tensors)[0]
    changed = {**tensors, name: tensors[name] * np.float32(1.001)}
    answer = left.with_suffix(".json")
    said = answer.read_text()
    files.write_tensors(path, changed)
    answer.write_text(said.replace(before, adapters.tensors_digest(changed)))
    _, found = replay.again("fedquad", 2)
    path.write_bytes(old)
    answer.write_text(said)
    assert found["state_digest"] != kept["state_digest"]
    assert found["failures"] == kept["failures"]
