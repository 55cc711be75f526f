"""A round is one function that needs no Prefect: a real campaign, trained for real, in this process."""

import subprocess
import sys
from pathlib import Path

import pytest
from handmade import home_is
from real_campaigns import TINY, digests, environment, fedquad, summary

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


def alone(folder: Path) -> dict[str, str]:
    (folder / "tiny.yaml").write_text(TINY)
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


@pytest.mark.server
def test_the_flow_computes_what_the_plain_function_computes(tmp_path: Path) -> None:
    found = alone(tmp_path)
    ran = fedquad(
        "campaign", "run", "tiny.yaml", "--name", "flown", "--json", env=environment(tmp_path / "runs"), cwd=tmp_path
    )
    assert digests(summary(ran)) == found
