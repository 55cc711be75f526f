"""A round is one function that needs no Prefect: a real campaign, trained for real, in this process."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from handmade import home_is
from real_campaigns import TINY, digests, environment, fedquad, summary
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from fedquad.learn.source import BACKBONES
from fedquad.rounds import adapters

ALONE = """
import asyncio, sys
from flows import edge
from tasks.prepare import is_finished, open_arm, opened
from tasks.round import play

async def main():
    spec = edge.campaign_spec("tiny.yaml")
    async with opened(spec, "alone") as session:
        for label in ("fedlora", "fedlora:oracle"):
            arm = open_arm(session, label, 0)
            while not is_finished(spec, arm.folder.progress):
                facts = await play(arm)
            print(label, facts.round, facts.state_digest)

asyncio.run(main())
assert not {"prefect", "mlflow"} & set(sys.modules), "Prefect was imported"
"""


def alone(folder: Path, campaign: str = TINY) -> dict[str, str]:
    (folder / "tiny.yaml").write_text(campaign)
    done = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=folder, env=environment(folder / "runs"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return {label: digest for label, _, digest in map(str.split, done.stdout.splitlines())}


def test_a_campaign_is_played_without_prefect_and_its_folder_is_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = alone(tmp_path)
    home_is(tmp_path / "runs", monkeypatch)
    from fedquad.store.campaign import existing

    folder = existing("alone")
    assert folder.status() == "finished"
    assert digests(folder.summarise()) == found
    for arm in folder.arms():
        assert [r["round"] for r in arm.rounds()] == [1, 2, 3]
        assert (arm.path / "best" / "adapter_model.safetensors").exists()


def test_a_prefix_is_probed_and_kept_in_files_or_in_memory_with_the_same_bits(tmp_path: Path) -> None:
    found = {}
    for kept, is_on_disk in (("memory", "false"), ("files", "true")):
        (tmp_path / kept).mkdir()
        training = f"steps: 3, batch: 4, prefix: stale, prefix_drift: 1e-9, prefix_on_disk: {is_on_disk}"
        found[kept] = alone(
            tmp_path / kept, TINY.replace("steps: 2, batch: 4", training).replace("rounds: 3", "rounds: 2")
        )
    assert found["memory"] == found["files"]
    assert [len(list((tmp_path / kept).glob("runs/cache/prefixes/*"))) > 0 for kept in found] == [False, True]
    (lines,) = tmp_path.glob("files/runs/campaigns/alone/arms/fedlora-s0/rounds.jsonl")
    rounds = [json.loads(line) for line in lines.read_text().splitlines()]
    assert rounds[0]["prefix_drift"] > 1e-9
    assert not any(row.get("known") for facts in rounds for row in facts["assignments"])  # each round's is of its own


ONCE = """
import asyncio
from flows import edge
from tasks.prepare import open_arm, opened
from tasks.round import play

async def main():
    async with opened(edge.campaign_spec("tiny.yaml"), "alone") as session:
        facts = await play(open_arm(session, "fedlora", 0))
        print(facts.round)

asyncio.run(main())
"""


def once(folder: Path) -> subprocess.CompletedProcess[str]:
    """Begin the campaign or go on with it, by one round."""
    command = [sys.executable, "-c", ONCE]
    return subprocess.run(
        command, cwd=folder, env=environment(folder / "runs"), capture_output=True, text=True, check=False
    )


def change(path: Path, key: str, resealed: bool = True) -> bytes:
    """Change one value of one tensor; returns the file as it was."""
    before = path.read_bytes()
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors[key] = tensors[key].copy()
    tensors[key].flat[0] += 1
    if resealed and "content" in metadata:
        metadata["content"] = adapters.tensors_digest(tensors)
    save_file(tensors, path, metadata)
    return before


def test_what_an_arm_was_computed_from_is_compared_when_it_goes_on(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(BACKBONES / "mini", model)
    (tmp_path / "tiny.yaml").write_text(f"{TINY}model: {{name: {model}}}\n")
    assert once(tmp_path).stdout == "1\n"

    weights = model / "model.safetensors"
    before = change(weights, next(key for key in load_file(weights) if "encoder" in key))
    refused = once(tmp_path).stderr.splitlines()[-1]
    assert "begun with another backbone: it was" in refused
    assert "--fresh" in refused
    weights.write_bytes(before)

    (tokens,) = (
        path for path in (tmp_path / "runs" / "cache" / "tokens").iterdir() if len(load_file(path)["labels"]) == 240
    )
    before = change(tokens, "labels")
    assert "begun with another train tokens: it was" in once(tmp_path).stderr.splitlines()[-1]
    tokens.write_bytes(before)

    change(tokens, "labels", resealed=False)
    for shards in (tmp_path / "runs" / "cache" / "shards").iterdir():
        shards.write_bytes(b"")
    again = once(tmp_path)
    assert again.stdout == "2\n", again.stderr  # what does not hold what its name says is made again
    assert tokens.read_bytes() == before


@pytest.mark.server
def test_the_flow_computes_what_the_plain_function_computes(tmp_path: Path) -> None:
    found = alone(tmp_path)
    ran = fedquad(
        "campaign", "run", "tiny.yaml", "--name", "flown", "--json", env=environment(tmp_path / "runs"), cwd=tmp_path
    )
    assert digests(summary(ran)) == found
