"""Text becomes a typed spec: presets and files, --methods, --rounds, --seeds, --set."""

from pathlib import Path
from typing import Any

import pytest

from fedquad import discover
from fedquad.errors import SpecError, UnknownNameError
from fedquad.spec import ArmSpec, CampaignSpec
from fedquad.spec_text import keys, plain
from flows import edge

YAML = """
arms:
  - {method: fedlora, label: mine, memory_policy: flag}
  - {method: fedlora:oracle}
rounds: 4
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: Any) -> str:
    monkeypatch.chdir(tmp_path)
    Path("some.yaml").write_text(YAML)
    return "some.yaml"


@pytest.mark.parametrize("name", discover.presets())
def test_every_preset_is_a_campaign(name: str) -> None:
    assert edge.campaign_spec(name).rounds >= 1


def test_a_file_on_a_base_says_only_what_differs(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("base: mini-table-4-low\ntraining: {batch: 4}\nfleet: {boards: {jetson-tx2: 2}}\n")
    found, base = edge.campaign_spec(str(mine)), edge.campaign_spec("mini-table-4")
    assert found.fleet.boards == {"jetson-tx2": 2}  # the whole of it; and of the groups around it only what is said
    assert (found.fleet.mode_rounds, found.training.batch) == (base.fleet.mode_rounds, 4)
    assert found.training.steps == base.training.steps
    assert found.arms == base.arms


@pytest.mark.parametrize(
    ("base", "said"),
    [("nothing", "there is no preset 'nothing'"), ("[1]", "base is"), ("./other.yaml", "base is './other.yaml'")],
)
def test_a_base_is_a_preset(tmp_path: Path, base: str, said: str) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"base: {base}\n")
    with pytest.raises((SpecError, UnknownNameError), match=said):
        edge.campaign_spec(str(mine))


def test_another_name_of_a_preset_is_the_same_campaign(file: str) -> None:
    assert edge.campaign_spec("paper-fig8c") == edge.campaign_spec("paper-fig7c")
    assert edge.campaign_name("paper-fig8c") == "paper-fig7c"
    assert edge.campaign_name(file) == "some"


def test_the_papers_campaigns_are_of_section_iv() -> None:
    models = {"paper-table-3-bert": "bert", "paper-table-3-deberta": "deberta", "paper-table-3": "roberta"}
    for name in ("paper-fig7a", "paper-fig7b", "paper-fig10a", "paper-table-4-low", *models):
        spec = edge.campaign_spec(name)
        assert (spec.fleet.size, spec.rounds, spec.data.alpha, spec.fleet.mode_rounds) == (100, 50, 10, 10)
        assert (spec.training.batch, spec.training.learning_rate, spec.training.steps) == (32, 0.001, None)
        assert spec.model.max_length == 128
        assert f"{models.get(name, 'roberta')}-" in spec.model.name


def test_a_spec_survives_its_own_yaml(file: str) -> None:
    spec = edge.campaign_spec(file)
    assert edge.typed(plain(spec)) == spec


def test_options_replace_what_the_file_says(file: str) -> None:
    spec = edge.campaign_spec(file, rounds=7, seeds="0, 3")
    assert (spec.rounds, spec.seeds) == (7, (0, 3))


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ("training.batch=16", lambda spec: spec.training.batch == 16),
        ("training.learning_rate=3e-3", lambda spec: spec.training.learning_rate == 0.003),
        ("training.learning_rate=1", lambda spec: spec.training.learning_rate == 1.0),
        ("training.steps=", lambda spec: spec.training.steps is None),
        ("training.schedule=constant", lambda spec: spec.training.schedule == "constant"),
        ("fleet.boards.jetson-tx2=12", lambda spec: spec.fleet.boards == {"jetson-tx2": 12}),
        ("fleet.boards={jetson-tx2: 5}", lambda spec: spec.fleet.boards == {"jetson-tx2": 5}),
        ("fleet.modes={jetson-tx2: [MAXN]}", lambda spec: spec.fleet.modes == {"jetson-tx2": ("MAXN",)}),
        ("seeds=[1, 2]", lambda spec: spec.seeds == (1, 2)),
        ("cost.priced_as=roberta-base", lambda spec: spec.cost.priced_as == "roberta-base"),
        ("arms.mine.memory_policy=strict", lambda spec: spec.arms[0].memory_policy == "strict"),
        ("arms.fedlora:oracle.label=all", lambda spec: spec.arms[1].name == "all"),
        ("data.train=100", lambda spec: spec.data.train == 100),
    ],
)
def test_set_types_its_value(file: str, setting: str, read: Any) -> None:
    assert read(edge.campaign_spec(file, settings=[setting]))


def test_methods_keep_what_the_file_says_of_an_arm(file: str) -> None:
    arms = edge.campaign_spec(file, methods="mine,fedlora:exclusive").arms
    assert arms == (ArmSpec(method="fedlora", label="mine", memory_policy="flag"), ArmSpec(method="fedlora:exclusive"))


def test_a_method_of_ones_own_is_named_by_its_file(file: str) -> None:
    Path("own.py").write_text("from fedquad.strategies.fedlora import VARIANTS, strategy\n")
    (arm,) = edge.campaign_spec(file, methods="./own.py").arms
    assert arm.name == "own"


def test_a_campaign_is_called_as_its_preset_or_file() -> None:
    assert edge.campaign_name("quickstart") == "quickstart"
    assert edge.campaign_name("studies/depth.yaml") == "depth"


@pytest.mark.parametrize("group", sorted({key.rpartition(".")[0] for key, _ in keys(CampaignSpec)}))
def test_an_unknown_key_is_refused_at_every_level(group: str) -> None:
    key = f"{group}.no_such_key" if group else "no_such_key"
    with pytest.raises(SpecError, match="no_such_key"):
        edge.campaign_spec("quickstart", settings=[f"{key}=1"])


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(SpecError, match=r"training\.batch.*; .*rouns"):
        edge.typed({"training": {"batch": "x"}, "rouns": 3})
