"""A campaign whose devices train in cohorts: the same bits for any number of processes, and when it was interrupted."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from handmade import home_is

from flows import edge
from tasks.prepare import is_finished, open_arm, opened
from tasks.round import play

SPEC = """
data: {name: mini-nli, train: 240, validation: 32, test: 32}
fleet: {boards: {jetson-agx-xavier: 3, jetson-tx2: 4}, dropout: 0.2}
cost: {priced_as: roberta-base}
training: {steps: 2, batch: 4, cohort: 3}
arms: [{method: fedquad}]
rounds: 2
"""


def played(folder: Path, processes: int, patch: pytest.MonkeyPatch, stops: bool = False) -> list[dict[str, Any]]:
    """The facts of all rounds; with `stops` every round is played by another coordinator."""
    (folder / "own.yaml").write_text(SPEC)
    home_is(folder / "runs", patch)
    patch.setattr("tasks.engine.cores", lambda threads: processes)
    spec, lines = edge.campaign_spec(str(folder / "own.yaml")), []

    async def go() -> bool:
        async with opened(spec, "own") as session:
            arm = open_arm(session, "fedquad", 0)
            while not is_finished(spec, arm.folder.progress):
                lines.append((await play(arm)).to_json())
                if stops:
                    return True
        return False

    while asyncio.run(go()):
        pass
    return lines


def test_processes_and_stops_change_no_bit_and_the_facts_say_who_was_together(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = ((1, False), (2, True), (4, False))
    first, *others = [played(tmp_path_factory.mktemp("own"), count, monkeypatch, stops) for count, stops in ways]
    for other in others:
        assert [line["state_digest"] for line in other] == [line["state_digest"] for line in first]
        assert [line["assignments"] for line in other] == [line["assignments"] for line in first]
    rows = [row for line in first for row in line["assignments"]]
    assert all(("cohort" in row) != bool(row["quantized"]) for row in rows)
    assert any("cohort" in row for row in rows)
    assert any(row["failure"] for row in rows)
