"""Real devices that score, of something else than classes: the facts are those of the simulated fleet over the same folders."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fleet_facts
import pytest
from real_campaigns import fedquad
from real_fleet import BOARDS, RealFleet, trainer_note, until
from real_home import Home

pytestmark = [pytest.mark.server, pytest.mark.fleet, pytest.mark.timeout(1800)]
BOARD, NAMES = "jetson-xavier-nx", ("sts-0", "sts-1")
SAME = (
    "state_digest", "score", "loss", "validation_score", "validation_loss", "spread", "pearson", "validation_pearson", "train_loss",
)  # fmt: skip


@pytest.fixture(scope="module")
def fleet(real_home: Home) -> Iterator[RealFleet]:
    """Two devices with sentences of which each pair has a grade."""
    made = RealFleet(real_home, exchange="mlflow", source="graded")
    try:
        for number, name in enumerate(NAMES):
            folder = made.give_data(BOARD, name, 60 + 20 * number, "mini-sts")
            made.serve(BOARD, name, folder, "--objective", "regression")
        for name in NAMES:
            until(lambda name=name: trainer_note(real_home, name), 600)
        yield made
    finally:
        made.end()


def spec(fleet: RealFleet, name: str, pools: dict[str, str]) -> Path:
    document = {
        "data": {
            "name": "graded", "partition": "local", "source": str(fleet.source), "evaluation": "devices", "objective": "regression",
            "text_columns": ["sentence1", "sentence2"], "label_column": "label",
        },
        "fleet": {"boards": {BOARD: len(NAMES)}, "pools": pools, "memory": "board", "deadline_seconds": 300},
        "training": {"steps": 2, "batch": 4},
        "arms": [{"method": "fedlora"}],
        "rounds": 1,
        "quorum": 1.0,
    }  # fmt: skip
    path = fleet.office.folder / f"{name}.yaml"
    path.write_text(json.dumps(document))  # which is YAML too
    return path


@pytest.fixture(scope="module")
def rounds(real_home: Home, fleet: RealFleet) -> list[dict[str, Any]]:
    path = spec(fleet, "graded", {BOARD: BOARDS[BOARD]})
    answer = fedquad("campaign", "run", str(path), env=real_home.env, cwd=real_home.folder)
    assert answer.returncode == 0, answer.stderr
    return real_home.facts("graded")


def test_scores_and_bits_are_those_of_the_simulated_fleet(
    real_home: Home, fleet: RealFleet, rounds: list[dict[str, Any]]
) -> None:
    simulated = real_home.simulated(spec(fleet, "sim-graded", {}), "fedlora")
    assert [{key: facts[key] for key in SAME} for facts in rounds] == [
        {key: facts[key] for key in SAME} for facts in simulated
    ]
    assert rounds[0]["spread"] > 0
    assert start(real_home, "graded") == start(real_home, "sim-graded")
    assert not fleet_facts.faults(rounds)


def start(home: Home, campaign: str) -> dict[str, float]:
    (file,) = (home.home / "campaigns" / campaign / "arms").glob("*/arm.json")
    return json.loads(file.read_text())["start"]  # type: ignore[no-any-return]
