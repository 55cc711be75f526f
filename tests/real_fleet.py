"""Real devices on loopback for tests: `fedquad device serve` processes, folders of data of their own, campaigns watched by their facts."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from real_campaigns import PROGRAM, as_in_a_terminal

from fedquad.onboard.own_data import rows

BOARDS = {
    "jetson-tx2": "jetson-tx2",
    "jetson-xavier-nx": "jetson-nx",
    "jetson-agx-xavier": "jetson-agx",
}  # board -> pool
SPEC = """\
data: {name: mini-nli, partition: local, source: SOURCE, text_columns: [premise, hypothesis], label_column: label}
fleet: {boards: BOARDS, pools: POOLS, exchange: EXCHANGE, deadline_seconds: 300, join_seconds: 120, memory: board}
training: {steps: 2, batch: 4}
arms: [{method: METHOD}]
rounds: ROUNDS
keep_every: 1
"""


class RealFleet:
    """Devices behind an office's pools."""

    def __init__(self, office: Any, exchange: str = "", source: str = "source") -> None:
        self.office = office  # whose folder, home and environment these are
        self.exchange = exchange or str(office.folder / "exchange")
        self.source = office.folder / source
        self.served: dict[str, subprocess.Popen[bytes]] = {}
        self.boards: dict[str, list[str]] = {}

    def give_data(self, board: str, name: str, examples: int, task: str = "mini-nli") -> Path:
        """A device's own folder, at the place where the simulated fleet finds it too."""
        folder = self.source / "devices" / board / name
        folder.mkdir(parents=True)
        lines = rows(task, name).splitlines(keepends=True)[:examples]
        (folder / "train.jsonl").write_text("".join(lines))
        return folder

    def give_tests(self, examples: int = 48) -> None:
        self.source.mkdir(parents=True, exist_ok=True)
        for split in ("validation", "test"):
            lines = rows("mini-nli", f"server-{split}").splitlines(keepends=True)[:examples]
            (self.source / f"{split}.jsonl").write_text("".join(lines))

    def serve(
        self, board: str, name: str, data: Path | str, *more: str, trainer: bool = True
    ) -> subprocess.Popen[bytes]:
        """Start `fedquad device serve`."""
        log = open(self.office.folder / f"{name}.log", "ab")  # noqa: SIM115
        command = [PROGRAM, "device", "serve", "--pool", BOARDS[board], "--name", name, "--data", str(data), "--exchange", str(self.exchange), "--trainer" if trainer else "--no-trainer", *more]  # fmt: skip
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

    def spec(
        self, path: str, method: str, rounds: int, *, pooled: bool = True, devices: int = 0, **changes: str
    ) -> Path:
        """A campaign's file: on all devices, or on so many of each board."""
        boards = {board: devices or len(set(names)) for board, names in self.boards.items()}
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


class Campaign:
    """A campaign in a process of its own, watched by its facts."""

    def __init__(self, fleet: RealFleet, spec: Path, settings: Mapping[str, Any]) -> None:
        self.fleet, self.spec = fleet, spec
        self.changes = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        log = open(self.fleet.office.folder / f"{self.spec.stem}.log", "ab")  # noqa: SIM115
        return subprocess.Popen(
            [PROGRAM, "campaign", "run", str(self.spec), *self.changes], env=self.fleet.office.env,
            cwd=self.fleet.office.folder, stdout=log, stderr=log, preexec_fn=as_in_a_terminal, start_new_session=True,
        )  # fmt: skip

    def kill(self) -> None:
        """End it as a power cut does, with all it has started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def facts(self) -> list[dict[str, Any]]:
        arms = self.fleet.office.home / "campaigns" / self.spec.stem / "arms"
        return [json.loads(line) for file in arms.glob("*/rounds.jsonl") for line in file.read_text().splitlines()]

    def after(self, rounds: int) -> None:
        """Wait until so many rounds are committed."""
        until(lambda: len(self.facts()) >= rounds or self.process.poll() is not None, 600)
        assert len(self.facts()) >= rounds, self.log()

    def finished(self) -> list[dict[str, Any]]:
        """Its facts when it has come to its end."""
        assert self.process.wait(timeout=600) == 0, self.log()
        return self.facts()

    def log(self) -> str:
        return (self.fleet.office.folder / f"{self.spec.stem}.log").read_text()[-3000:]


@contextmanager
def campaign(fleet: RealFleet, spec: Path, settings: Mapping[str, Any]) -> Iterator[Campaign]:
    """A campaign that is at work; what of it is left at the end of the block is killed."""
    made = Campaign(fleet, spec, settings)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.kill()


def row(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What became of a device in a round."""
    return next(one for one in facts["assignments"] if one["run"]["name"] == name)


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
