"""Real devices on loopback for tests: a server that keeps events, `fedquad device serve` processes, folders of data of their own."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from real_campaigns import PROGRAM

from fedquad.onboard.own_data import rows

BOARDS = {
    "jetson-tx2": "jetson-tx2",
    "jetson-xavier-nx": "jetson-nx",
    "jetson-agx-xavier": "jetson-agx",
}  # board -> pool
SPEC = """\
data: {name: mini-nli, partition: local, source: SOURCE, text_columns: [premise, hypothesis], label_column: label}
fleet: {boards: BOARDS, pools: POOLS, exchange: EXCHANGE, deadline_seconds: 120, join_seconds: 90, memory: board}
training: {steps: 2, batch: 4}
arms: [{method: METHOD}]
rounds: ROUNDS
keep_every: 1
"""


class RealFleet:
    """Devices behind an office's pools."""

    def __init__(self, office: Any, exchange: str = "") -> None:
        self.office = office  # whose folder, home and environment these are
        self.exchange = exchange or str(office.folder / "exchange")
        self.source = office.folder / "source"
        self.served: dict[str, subprocess.Popen[bytes]] = {}
        self.boards: dict[str, list[str]] = {}

    def give_data(self, board: str, name: str, examples: int) -> Path:
        """A device's own folder, at the place where the simulated fleet finds it too."""
        folder = self.source / "devices" / board / name
        folder.mkdir(parents=True)
        lines = rows("mini-nli", name).splitlines(keepends=True)[:examples]
        (folder / "train.jsonl").write_text("".join(lines))
        return folder

    def give_tests(self, examples: int = 48) -> None:
        self.source.mkdir(parents=True, exist_ok=True)
        for split in ("validation", "test"):
            lines = rows("mini-nli", f"server-{split}").splitlines(keepends=True)[:examples]
            (self.source / f"{split}.jsonl").write_text("".join(lines))

    def serve(self, board: str, name: str, data: Path | str, *, trainer: bool = True) -> subprocess.Popen[bytes]:
        """Start `fedquad device serve`."""
        log = open(self.office.folder / f"{name}.log", "ab")  # noqa: SIM115
        command = [PROGRAM, "device", "serve", "--pool", BOARDS[board], "--name", name, "--data", str(data), "--exchange", str(self.exchange), "--trainer" if trainer else "--no-trainer"]  # fmt: skip
        process = subprocess.Popen(
            command,
            env=self.office.env,
            cwd=self.office.folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.served[name] = process
        self.boards.setdefault(board, []).append(name)
        return process

    def spec(self, path: str, method: str, rounds: int, *, pooled: bool = True, **changes: str) -> Path:
        boards = {board: len(set(names)) for board, names in self.boards.items()}
        pools = {board: BOARDS[board] for board in boards} if pooled else {}
        text = SPEC.replace("SOURCE", json.dumps(str(self.source))).replace("BOARDS", json.dumps(boards))
        text = text.replace("POOLS", json.dumps(pools)).replace("EXCHANGE", json.dumps(str(self.exchange)))
        text = text.replace("METHOD", json.dumps(method)).replace("ROUNDS", str(rounds))
        for old, new in changes.items():
            text = text.replace(f"{old}: ", f"{old}: {new} #")
        (self.office.folder / path).write_text(text)
        return self.office.folder / path

    def facts(self, campaign: str, arm: str) -> list[dict[str, Any]]:
        lines = (self.office.home / "campaigns" / campaign / "arms" / arm / "rounds.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def log(self, name: str) -> str:
        return (self.office.folder / f"{name}.log").read_text()

    def end(self, names: Sequence[str] = ()) -> None:
        for name in names or tuple(self.served):
            process = self.served.pop(name)
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
                os.kill(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def trainer_note(office: Any, name: str) -> Mapping[str, Any]:
    with suppress(FileNotFoundError, ValueError):
        return json.loads((office.home / "devices" / name / "trainer.json").read_text())  # type: ignore[no-any-return]
    return {}


def until(holds: Any, seconds: float = 60, every: float = 0.2) -> Any:
    """Wait for something to hold, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(every)
    raise AssertionError(f"it did not come true within {seconds} s")
