"""A disk that fills up while a campaign runs: it ends in one line while there is still room to, and goes on later."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_campaigns import PROGRAM, TINY, environment, fedquad

from fedquad.store.files import RESERVE_BYTES

pytestmark = pytest.mark.server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    size = f"size={RESERVE_BYTES + 60 * 10**6}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_campaign_ends_before_the_disk_is_full_and_goes_on_when_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    home, spec = small_disk / "runs", tmp_path / "tiny.yaml"
    spec.write_text(TINY)
    env, rounds = environment(home), home / "campaigns/tiny/arms/fedlora-s0/rounds.jsonl"
    running = subprocess.Popen(
        [PROGRAM, "campaign", "run", str(spec), "--rounds", "15"],
        env=env,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 120
        while not rounds.exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert rounds.exists()
        (home / "ballast").write_bytes(bytes(50 * 10**6))
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 8
    assert "Traceback" not in said
    assert "kept in reserve; make room" in said.splitlines()[-1]

    refused = fedquad("campaign", "resume", "tiny", env=env, cwd=tmp_path)
    assert refused.returncode == 5
    assert "MB left on its disk" in refused.stderr

    (home / "ballast").unlink()
    resumed = fedquad("campaign", "resume", "tiny", "--json", env=env, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert {len(arm["rounds"]) for arm in json.loads(resumed.stdout)["arms"]} == {15}

    (home / "ballast").write_bytes(bytes(50 * 10**6))
    assert fedquad("campaign", "run", str(spec), "--rounds", "15", env=env, cwd=tmp_path).returncode == 0  # its table
