"""What must not matter: how many processes train, in which order answers arrive, whether anybody tracks. Real training, same digests."""

import subprocess
import sys
from pathlib import Path

import pytest
from real_campaigns import TINY, digests, environment, fedquad, summary

PLAY = """
import asyncio, json, random, sys
from fedquad.learn.pool import Pool
from fedquad.store.campaign import campaign
from flows import edge
from tasks.prepare import is_finished, open_arm, prepare
from tasks.round import play
from tasks.session import Session

async def shuffled(answers, dice):
    arrived = [answer async for answer in answers]
    dice.shuffle(arrived)
    for answer in arrived:
        yield answer

async def main(processes, order):
    spec, dice = edge.campaign_spec("tiny.yaml"), random.Random(order)
    folder = campaign(f"with-{processes}")
    with folder.open(spec):
        pool = Pool(processes, 1)
        await pool.start()
        session = Session(folder, spec, pool)
        await prepare(session)
        fleet = session.seeds[0].fleet
        train = fleet.train
        fleet.train = lambda jobs, **round: shuffled(train(jobs, **round), dice)
        found = {}
        for label in ("fedlora", "fedlora:oracle"):
            arm = open_arm(session, label, 0)
            while not is_finished(spec, arm.folder.progress):
                found[label] = (await play(arm)).state_digest
        await pool.close()
    print(json.dumps(found))

asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""


def played(folder: Path, processes: int, order: int) -> str:
    command = [sys.executable, "-c", PLAY, str(processes), str(order)]
    done = subprocess.run(command, cwd=folder, env=environment(folder / "runs"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_neither_processes_nor_the_order_of_arrival_change_a_bit(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    found = {played(tmp_path, processes, order) for order, processes in enumerate((1, 2, 4))}
    assert len(found) == 1


@pytest.mark.server
def test_a_campaign_that_nobody_tracks_has_the_same_bits(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    found = [
        summary(
            fedquad(
                "campaign",
                "run",
                "tiny.yaml",
                "--name",
                name,
                "--json",
                env=environment(tmp_path / "runs", **more),
                cwd=tmp_path,
            )
        )
        for name, more in (("tracked", {}), ("untracked", nowhere))
    ]
    assert digests(found[0]) == digests(found[1])
