"""How many clients a second are trained, in whole rounds: FedQuad beside a hand-written loop, Flower, pfl-research and BlazeFL.

    make peers                                       # the rivals' environments, .peers; BlazeFL's needs Python 3.12 or newer
    python -m benchmarks.peers                     # about 40 minutes on two idle cores; adds to peers.csv
    python -m benchmarks.peers --only encoder      # the rows of one setting
    python -m benchmarks.peers --only growing      # FedQuad alone, one step a client, 100 to 10,000 clients that all take part

A training is 8 steps of AdamW with LoRA of rank 8 on query and value, SDPA, dropout 0.1, on the embedded world's rows. `mini` has 12
layers of width 64, batch 8 and 32 tokens; `encoder` 6 of 384 with random weights, batch 16 and 48 tokens; clients of `mixed` train 3,
6, 9 or 12 layers. Two processes of one thread each, whatever the framework. FedQuad's row is a whole campaign, its rounds planned,
checked, merged, scored, recorded and durable; `alone` has `training.cohort: 1`, `cohorts` 8, as is the default for `mini`, `bf16` that precision too. The others train and average.

Each turn runs every way in a process of its own, one after the other. Seconds are from one round's end to the next, the first round is
left out; rates are of the median round of all turns, ratios of the medians of the same turn. Memory is the greatest sum of PSS
over all processes of a way, seen twice a second.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.rows import HERE, arguments, record

PEERS = HERE / "peers"
RIVALS = HERE.parent / ".peers" / "bin"
OURS = [sys.executable, "-m", "benchmarks.peers.ours"]
COMMANDS = {
    "loop": [str(RIVALS / "python"), str(PEERS / "loop.py")],
    "flower": [str(RIVALS / "python"), str(PEERS / "flower.py")],
    "pfl": [str(RIVALS / "torchrun"), "--nproc-per-node", "2", str(PEERS / "pfl_research.py")],
    "blazefl": [str(RIVALS.parent / "blazefl" / "bin" / "python"), str(PEERS / "blazefl_pool.py")],
    "alone": OURS,
    "cohorts": OURS,
    "alone bf16": OURS,
    "cohorts bf16": OURS,
}
RIVALS_ENV = {
    "PYTHONPATH": str(PEERS),
    "FLWR_TELEMETRY_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}  # Ray's actors read it
LEFT_ALONE = 1800.0  # seconds after which a way is ended


@dataclass(frozen=True)
class Setting:
    name: str
    clients: int
    rounds: int
    ways: tuple[str, ...]
    depths: tuple[int, ...] = (12,)
    model: str = "mini"
    batch: int = 8
    tokens: int = 32
    steps: int = 8
    turns: int = 3

    def campaign(self, model: str, way: str) -> dict[str, Any]:
        method = "fedlora:oracle" if len(self.depths) == 1 else str(PEERS / "mixed.py")
        return {
            "model": {"name": model, "max_length": self.tokens, "precision": "bf16" if way.endswith("bf16") else "fp32"},
            "data": {"train": self.clients * self.steps * self.batch, "validation": 32, "test": 32, "partition": "iid"},
            "fleet": {"boards": {"jetson-tx2": self.clients}},
            "training": {
                "steps": self.steps, "batch": self.batch, "padding": "max", "learning_rate": 3e-3, "update_bound": 0,
                "cohort": 1 if way.startswith("alone") else 8,
            },
            "arms": [{"method": method, "label": "ours"}],
            "rounds": self.rounds,
        }  # fmt: skip


ALL = ("loop", "flower", "pfl", "blazefl", "alone", "cohorts")
SETTINGS = (
    Setting("mini", 10, 14, ALL),  # the first four share the cores with what a campaign loads meanwhile
    Setting("mini", 100, 3, ALL),
    Setting("mixed", 100, 3, ("loop", "cohorts"), depths=(3, 6, 9, 12)),
    Setting(
        "encoder", 10, 3, ("loop", "alone", "alone bf16", "cohorts", "cohorts bf16"), (6,), "encoder", 16, 48, turns=2
    ),
    Setting("growing", 100, 6, ("cohorts",), steps=1, turns=1),
    Setting("growing", 1_000, 4, ("cohorts",), steps=1, turns=1),
    Setting("growing", 10_000, 2, ("cohorts",), steps=1, turns=1),
)


def prepared(setting: Setting, folder: Path) -> dict[str, Path]:
    """What each way is given, by the way's name: the task of the rivals, or a campaign."""
    from benchmarks.cohorts import encoder
    from fedquad.learn import tokens
    from fedquad.learn.source import locate
    from flows.edge import typed

    model = str(locate("mini")) if setting.model == "mini" else str(encoder(folder / "encoder"))
    specs = {way: setting.campaign("mini" if setting.model == "mini" else model, way) for way in setting.ways}
    spec = typed(next(iter(specs.values())))
    data = tokens.prepare(spec.data, spec.model, 0, folder / "cache")
    examples = tokens.read(Path(data["splits"]["train"]["path"]))
    np.savez(
        folder / "rows.npz",
        ids=examples.input_ids[:, : setting.tokens].astype(np.int64),
        mask=examples.attention_mask[:, : setting.tokens].astype(np.int64),
        labels=examples.labels.astype(np.int64),
    )
    task = {"model": model, "rows": str(folder / "rows.npz")} | {
        name: getattr(setting, name) for name in ("clients", "depths", "batch", "steps", "rounds")
    }
    found = {}
    for way, campaign in specs.items():
        found[way] = folder / f"{way.replace(' ', '-')}.yaml"  # JSON is YAML too
        found[way].write_text(json.dumps(campaign if COMMANDS[way] is OURS else task))
    return found


def run(way: str, given: Path) -> dict[str, Any]:
    """One way, once: seconds until its first round begins, seconds of each later round, and memory."""
    with tempfile.TemporaryDirectory(prefix="fedquad-") as home:
        mark = uuid.uuid4().hex
        env = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "FEDQUAD_"))}  # fmt: skip
        env |= {"FEDQUAD_HOME": home, "OMP_NUM_THREADS": "1", "PEERS_MARK": mark}
        env |= {} if COMMANDS[way] is OURS else RIVALS_ENV
        began = time.time()
        process = subprocess.Popen(
            [*COMMANDS[way], str(given)], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=HERE.parent
        )
        timer = threading.Timer(LEFT_ALONE, process.kill)
        timer.start()
        memory = Memory(mark)
        memory.start()
        assert process.stdout is not None
        lines = [json.loads(line) for line in process.stdout if line.startswith(b'{"peer"')]
        code = process.wait()
        timer.cancel()
        memory.stop()
    if code or len(lines) < 3:
        raise SystemExit(
            f"{way} ended with {code} after {max(len(lines) - 1, 0)} rounds; run {' '.join(COMMANDS[way])}"
        )
    times = [line["time"] for line in lines]
    return {
        "ready": times[0] - began,
        "rounds": [after - before for before, after in pairwise(times[1:])],
        "bytes": memory.greatest,
    }


class Memory(threading.Thread):
    """The greatest sum of PSS over the processes whose environment bears a mark; those left at the end are ended."""

    def __init__(self, mark: str) -> None:
        super().__init__(daemon=True)
        self.mark = mark.encode()
        self.greatest = 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.5):
            self.greatest = max(self.greatest, sum(map(pss, self.processes())))

    def stop(self) -> None:
        self.ended.set()
        self.join()
        for folder in self.processes():
            os.kill(int(folder.name), signal.SIGKILL)

    def processes(self) -> Iterator[Path]:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark in (folder / "environ").read_bytes():
                    yield folder
            except OSError:
                continue


def pss(folder: Path) -> int:
    try:
        for line in (folder / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 0


def rows(setting: Setting) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="fedquad-") as folder:
        given = prepared(setting, Path(folder))
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in setting.ways}
        for _ in range(setting.turns):
            for way in setting.ways:
                found[way].append(run(way, given[way]))
    return [row(setting, way, found) for way in setting.ways]


def row(setting: Setting, way: str, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    each = found[way]
    seconds = median(one for turn in each for one in turn["rounds"])

    def times(rival: str) -> float | str:
        if rival not in found:
            return ""
        return round(median(median(a["rounds"]) / median(b["rounds"]) for a, b in zip(found[rival], each)), 2)

    return {
        "setting": setting.name,
        "clients": setting.clients,
        "way": way,
        "turns": len(each),
        "trainings_per_second": round(setting.clients / seconds, 2),
        "ms_a_training": round(1000 * seconds / setting.clients, 2),
        "times_the_loop": times("loop"),
        "times_flower": times("flower"),
        "start_seconds": round(median(turn["ready"] for turn in each), 1),
        "memory_mb": round(max(turn["bytes"] for turn in each) / 1e6),
    }


def main() -> None:
    parser: argparse.ArgumentParser = arguments(__doc__)
    parser.add_argument("--only", choices=sorted({setting.name for setting in SETTINGS}), help="one setting")
    parser.add_argument("--clients", type=int, help="of it, those with so many clients")
    given = parser.parse_args()
    if not (RIVALS / "torchrun").exists():
        raise SystemExit("the rivals are not installed; run: make peers")
    there = [way for way, command in COMMANDS.items() if Path(command[0]).exists()]
    if "blazefl" not in there:
        print("without BlazeFL, for which make peers found no Python 3.12 or newer", file=sys.stderr)
    chosen = [
        replace(one, ways=tuple(way for way in one.ways if way in there))
        for one in SETTINGS
        if given.only in (None, one.name) and given.clients in (None, one.clients)
    ]
    found = [row for setting in chosen for row in rows(setting)]
    record("peers", found, as_json=given.json, appends=True)


if __name__ == "__main__":
    main()
