"""The spec on all its roads: YAML, --set and Prefect's form accept the same keys and refuse the same unknown ones."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from fedquad.errors import SpecError
from fedquad.spec import ArmSpec, CampaignSpec
from fedquad.spec_text import differences, keys, override, plain, read_yaml, write_yaml
from flows import edge

GROUPS = [item.name for item in fields(CampaignSpec) if isinstance(item.type, type) and is_dataclass(item.type)]
UNKNOWN: list[dict[str, Any]] = [
    {"colour": 1},
    *({group: {"colour": 1}} for group in GROUPS),
    {"arms": [{"method": "fedlora", "colour": 1}]},
]


def test_there_is_a_group_for_every_part_of_a_campaign() -> None:
    assert GROUPS == ["model", "data", "fleet", "cost", "training"]


@pytest.mark.parametrize("wrong", UNKNOWN, ids=str)
def test_an_unknown_key_is_refused_at_every_level_from_yaml(wrong: dict[str, Any], tmp_path: Path) -> None:
    import yaml

    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(wrong))
    with pytest.raises(SpecError, match="colour"):
        edge.campaign_spec(str(path))


@pytest.mark.parametrize("group", ["", *(f"{group}." for group in GROUPS)])
def test_an_unknown_key_is_refused_at_every_level_from_the_command_line(group: str) -> None:
    with pytest.raises(SpecError, match="colour"):
        edge.campaign_spec("quickstart", settings=[f"{group}colour=1"])


@pytest.mark.parametrize("wrong", UNKNOWN, ids=str)
def test_an_unknown_key_is_refused_at_every_level_from_the_form(wrong: dict[str, Any]) -> None:
    from prefect.exceptions import ParameterTypeError

    from flows.campaign import campaign

    assert campaign.validate_parameters({"spec": plain(CampaignSpec())})["spec"] == CampaignSpec()
    with pytest.raises(ParameterTypeError, match="colour"):
        campaign.validate_parameters({"spec": wrong})


def test_every_setting_has_its_sentence() -> None:
    for name, sentence in [*keys(CampaignSpec), *keys(ArmSpec)]:
        assert sentence.endswith("."), name
        assert len(sentence) > 10, name


def test_what_is_written_is_read() -> None:
    spec = CampaignSpec(arms=(ArmSpec(method="fedlora:oracle", label="all", params={"a": 1}),), seeds=(3, 4))
    assert edge.typed(read_yaml(write_yaml(spec), "here")) == spec


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rounds=0", "rounds is 0"),
        ("rounds=-3", "rounds is -3"),
        ("seeds=[1,1]", "seeds"),
        ("participation=0", "participation is 0"),
        ("quorum=1.5", "quorum is 1.5"),
        ("target_accuracy=80", "target_accuracy is 80"),
        ("stop=target", "needs a target"),
        ("target=1e300", "target is"),
        ("data.prompt_column=q", "go together"),
        ("training.steps=0", "training.steps is 0"),
        ("training.batch=-1", "training.batch is -1"),
        ("training.learning_rate=0", "training.learning_rate"),
        ("model.rank=0", "model.rank is 0"),
        ("fleet.engine=ray", "fleet.engine"),
        ("fleet.engine_address=tcp://a:1", "it goes with engine: dask"),
        ("fleet.boards.jetson-tx2=-2", "jetson-tx2 is -2"),
        ("fleet.boards={}", "at least one device"),
        ("fleet.dropout=1", "fleet.dropout"),
        ("fleet.pools={jetson-nano: x}", "fleet.boards has no jetson-nano"),
        ("fleet.pools={jetson-tx2: x}", "it is `local`"),
        ("data.alpha=0", "data.alpha"),
        ("data.column=user", "data.column"),
        ("cost.quantization=measured", "cost.profile"),
        ("training.batch=many", "training.batch"),
        ("arms=[]", "at least one arm"),
        ("arms=[{method: fedlora, label: a/b}]", "no slash"),
        ("arms=[{method: fedlora}, {method: fedlora}]", "label of its own"),
    ],
)
def test_a_value_out_of_range_is_one_line_that_names_its_key(setting: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as error:
        edge.campaign_spec("quickstart", settings=[setting])
    assert "\n" not in str(error.value)


def test_a_dotted_key_cannot_go_through_a_value() -> None:
    with pytest.raises(SpecError, match="'rounds' is 3, not a group"):
        override({"rounds": 3}, {"rounds.more": 1})


def test_differences_name_the_key_and_both_values() -> None:
    old, new = plain(CampaignSpec()), plain(CampaignSpec(rounds=11))
    assert differences(old, new) == ["rounds: 10 -> 11"]


def test_a_target_goes_by_either_name_but_once() -> None:
    assert CampaignSpec(target=2.1).goal == 2.1
    assert CampaignSpec(target_accuracy=0.7).goal == 0.7
    with pytest.raises(SpecError, match="given once"):
        CampaignSpec(target=0.7, target_accuracy=0.7)
