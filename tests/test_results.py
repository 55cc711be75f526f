"""What Prefect's pages show of a campaign: the table, whatever its arms are called."""

import asyncio
from pathlib import Path
from typing import Any

import yaml

from flows import automations, results

ROOT = Path(__file__).parents[1]


def arm(label: str, best: float | None, **more: Any) -> dict[str, Any]:
    return {
        "label": label,
        "seed": 0,
        "rounds": [{}, {}],
        "best_accuracy": best,
        "final_accuracy": best,
        "seconds_to_target": 1234.56,
        "mean_wait_seconds": 5.0,
        "failure": "",
        **more,
    }


def test_the_best_arm_is_first_and_every_row_has_every_column() -> None:
    arms = [arm("fedlora", 0.7), arm("fedquad", 0.75), arm("mine", None, failure="a|b\nc", seconds_to_target=None)]
    said = {"said": ["fedquad is first"]}
    text = results.table({"campaign": "x", "target_accuracy": 0.7, "arms": arms, "comparison": said})
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| fedquad", "| fedlora", "| mine"]
    assert {row.replace("\\|", "").count("|") for row in rows} == {len(results.COLUMNS) + 1}
    assert "75.00 %" in rows[2]
    assert "1,234.6 s" in rows[2]
    assert "- fedquad is first" in text


def test_a_name_is_text_and_nothing_else() -> None:
    text = results.table({"campaign": "<b>", "arms": [arm("[a](http://b)", 0.5)], "comparison": None})
    assert "<b>" not in text.replace("\\<b\\>", "")
    assert "\\[a\\](http://b)" in text


def test_a_temporary_server_is_spared(monkeypatch: Any) -> None:
    results.SILENT.set(True)
    try:
        asyncio.run(results.show({}, None))  # which would need both
    finally:
        results.SILENT.set(False)


def test_the_example_and_our_automation_are_ones_that_prefect_takes() -> None:
    from prefect.events.schemas.automations import AutomationCore, EventTrigger

    (document,) = yaml.safe_load((ROOT / "deployments" / "automations.yaml").read_text())["automations"]
    example = AutomationCore.model_validate(document)
    assert isinstance(example.trigger, EventTrigger)
    assert example.trigger.expect == {"fedquad.device.lost"}
    ours = automations.zombies()
    assert isinstance(ours.trigger, EventTrigger)
    assert ours.trigger.expect > automations.ENDS
    (action,) = ours.actions
    assert action.force is False  # it also fires for runs that have ended, where the end's event was missed
