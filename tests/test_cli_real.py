"""The command line over real campaigns, as processes: run, Ctrl-C, resume, a second process, verify; a minute each."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from real_campaigns import as_in_a_terminal

from fedquad.store import files

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

MANY = 24  # enough that a Ctrl-C comes before the last
FEDQUAD = Path(sys.executable).with_name("fedquad")
YAML = """
data: {train: 64, validation: 16, test: 16}
fleet: {boards: {jetson-tx2: 2}}
training: {steps: 1}
arms: [{method: "fedlora:oracle"}]
rounds: ROUNDS
"""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "FEDQUAD_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [FEDQUAD, *arguments],
        cwd=folder,
        env=environment,
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=as_in_a_terminal,
    )


def fedquad(folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def rounds_of(folder: Path, name: str) -> Path:
    return folder / "home" / "campaigns" / name / "arms" / "fedlora:oracle-s0" / "rounds.jsonl"


def test_ctrl_c_ends_a_campaign_that_resume_finishes_as_if_nothing_had_been(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(YAML.replace("ROUNDS", str(MANY)))
    running = start(tmp_path, "campaign", "run", "tiny.yaml")
    while not (tmp_path / "home" / "cache").exists() and running.poll() is None:
        time.sleep(0.1)
    code, _, err = fedquad(tmp_path, "campaign", "run", "tiny.yaml")  # a second process on the same campaign
    assert (code, err.count("\n")) == (6, 1), err
    while not rounds_of(tmp_path, "tiny").exists() and running.poll() is None:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "resume" in err.splitlines()[-1]
    assert "Traceback" not in err
    before = len(rounds_of(tmp_path, "tiny").read_text().splitlines())
    assert 1 <= before < MANY

    code, out, err = fedquad(tmp_path, "campaign", "resume", "tiny", "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert len(summary["arms"][0]["rounds"]) == MANY
    (tmp_path / "whole.yaml").write_text(YAML.replace("ROUNDS", str(MANY)))
    code, out, err = fedquad(tmp_path, "campaign", "run", "whole.yaml", "--json")
    assert code == 0, err
    assert json.loads(out)["arms"][0]["state_digest"] == summary["arms"][0]["state_digest"]


def test_verify_computes_the_same_bits_and_names_what_differs_when_it_does_not(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(YAML.replace("ROUNDS", "2"))
    code, _, err = fedquad(tmp_path, "campaign", "run", "tiny.yaml")
    assert code == 0, err
    made = tmp_path / "home" / "campaigns" / "tiny"
    (arm,) = json.loads((made / "summary.json").read_text())["arms"]
    assert 0 < arm["start"]["accuracy"] < 1
    assert arm["digests"]["prices"]
    assert f"seed 0, prices: {arm['digests']['prices']}" in (made / "report" / "index.html").read_text()
    code, out, err = fedquad(tmp_path, "campaign", "export", "tiny")
    assert code == 0, err
    code, out, err = fedquad(tmp_path, "campaign", "verify", out.strip(), "--json")
    document = json.loads(out)
    assert (code, document["rounds_compared"], document["differences"]) == (0, 2, []), err

    before = None
    for manifest in sorted(
        (rounds_of(tmp_path, "tiny").parent / "state").glob("round-*.json")
    ):  # sealed anew, in order
        document = json.loads(manifest.read_text())
        document["facts"]["state_digest"] = "0" * 64
        before = files.write_sealed(manifest, {**document, "before": before or document["before"]})[files.SEAL]
    code, out, err = fedquad(tmp_path, "campaign", "verify", "tiny", "--rounds", "1")
    assert code == 10, err
    assert "fedlora:oracle s0 round 1: stored 000000000000" in out
    assert err.splitlines()[-1].startswith("fedquad: campaign 'tiny': fedlora:oracle s0 differs from round 1 on")
