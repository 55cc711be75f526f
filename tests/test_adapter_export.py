"""An adapter leaves its campaign as a folder with a card, whose lines of Python work as they stand, merged or not."""

import ast
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest
from commands import Said, fedquad

from fedquad.errors import StoreError
from fedquad.learn import model, peft_folder
from fedquad.rounds import adapters
from fedquad.spec import ArmSpec, CampaignSpec, FleetSpec
from fedquad.store import exports

SPEC = CampaignSpec(
    arms=(ArmSpec(method="fedlora"),), rounds=3, seeds=(0, 1), fleet=FleetSpec(boards={"jetson-tx2": 2})
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: Any) -> Path:
    """A campaign whose best adapters are of the embedded model, one a seed, not trained but moved."""
    path = tmp_path_factory.mktemp("home")
    trainee = model.load(SPEC.model, 3, SPEC.model.rank)
    with pytest.MonkeyPatch.context() as patch:
        handmade.home_is(path, patch)
        folder = handmade.make("one", SPEC)
        for seed, arm in enumerate(folder.arms()):
            begun = adapters.initial(trainee.layout, SPEC.model.rank, seed)
            draw = np.random.default_rng(seed)
            head = {name: draw.normal(0, 0.2, array.shape).astype(np.float32) for name, array in begun.head.items()}
            peft_folder.write(arm.path / "best", replace(begun, head=head), trainee.layout, SPEC.model, SPEC.model.name)
            exports.stamp(arm.path / "best", arm.progress().best_digest)
    return path


@pytest.fixture
def run(home: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> Any:
    handmade.home_is(home, monkeypatch)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Said:
        return fedquad(capsys, monkeypatch, *arguments)

    return run


def snippet(folder: Path) -> Any:
    """What the card's lines print, run in the folder in a process of their own."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = ast.literal_eval(done.stdout.strip().splitlines()[-1])
    return found[0] if isinstance(found, list) else found


def test_the_card_s_lines_work_as_they_stand_and_merged_or_not_say_the_same(run: Any, tmp_path: Path) -> None:
    said = run("adapter", "export", "one", "--method", "fedlora", "--seed", "1")
    assert (said.code, said.out) == (0, "one-fedlora.adapter\n"), said.err
    document = run("adapter", "export", "one", "--method", "fedlora", "--seed", "1", "--merge", "--json").document
    assert (document["folder"], document["seed"], document["round"], document["merged"]) == (
        "one-fedlora.model",
        1,
        3,
        True,
    )
    apart, merged = snippet(tmp_path / "one-fedlora.adapter"), snippet(tmp_path / "one-fedlora.model")
    assert apart["label"] in ("entailment", "neutral", "contradiction")
    assert merged["label"] == apart["label"]
    assert merged["score"] == pytest.approx(apart["score"], abs=1e-5)
    assert {path.suffix for path in (tmp_path / "one-fedlora.model").iterdir()} == {".md", ".json", ".safetensors"}


def test_a_card_says_how_it_was_trained_and_scored(run: Any, tmp_path: Path) -> None:
    run("adapter", "export", "one", "--method", "fedlora", "--seed", "0", "--to", "deep/here")
    text = (tmp_path / "deep" / "here" / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: peft\n")
    for words in (
        "campaign one",
        "seed 0",
        "2 simulated devices (2 jetson-tx2)",
        "round 3 of 3",
        "| test | 60.0 % |",
        *handmade.DIGESTS.values(),
    ):
        assert words in text, words
    config = json.loads((tmp_path / "deep" / "here" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert not list((tmp_path / "deep").glob(".*"))


def test_what_is_not_there_is_said_with_what_is(run: Any, tmp_path: Path) -> None:
    said = run("adapter", "export", "one", "--method", "hetlora")
    assert (said.code, "fedlora (seed 0), fedlora (seed 1)" in said.err) == (4, True)
    assert run("adapter", "export", "one", "--method", "fedlora", "--seed", "7").code == 4
    (tmp_path / "one-fedlora.adapter").mkdir()
    said = run("adapter", "export", "one", "--method", "fedlora")
    assert (said.code, "give another folder with --to" in said.err) == (StoreError.exit_code, True)


def test_an_adapter_that_is_not_what_was_learned_is_not_handed_out(run: Any, home: Path, tmp_path: Path) -> None:
    weights = home / "campaigns" / "one" / "arms" / "fedlora-s0" / "best" / peft_folder.WEIGHTS
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-4] + b"\0\0\0\1")
    try:
        said = run("adapter", "export", "one", "--method", "fedlora", "--seed", "0")
    finally:
        weights.write_bytes(kept)
    assert (said.code, "is not what arm fedlora-s0 learned" in said.err) == (StoreError.exit_code, True)
    assert not list(tmp_path.iterdir())
