"""Show a campaign while it runs: a live table on stderr when that is a terminal, plain lines when it is not.

It listens to the events that tasks/progress.py carries and knows nothing else of the campaign.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedquad.objective import ACCURACY, Metric
from fedquad.report.words import NONE, headed, seconds
from fedquad.store.campaign import CampaignFolder

KEPT_NOTICES = 3


class Listener(Protocol):
    def __call__(self, event: str, facts: dict[str, Any]) -> None: ...


@dataclass
class Arm:
    """What is shown of one arm."""

    label: str
    seed: int
    rounds: int = 0
    devices: int = 0
    answered: int = 0
    metric: Metric = ACCURACY
    score: float | None = None
    best: float | None = None
    clock: float = 0.0
    state: str = "waiting"
    training_share: float = 0.7  # of a round's wall time; the last round's, once there is one

    def take(self, facts: dict[str, Any]) -> None:
        """A finished round's figures."""
        self.rounds, self.score, self.clock = facts["round"], facts["score"], facts["elapsed_seconds"]
        self.best = self.metric.best([facts["score"], *([] if self.best is None else [self.best])])
        self.devices = self.answered = 0
        if facts["wall_round_seconds"] > 0:
            self.training_share = facts["wall_train_seconds"] / facts["wall_round_seconds"]

    @property
    def work(self) -> float:
        """Rounds done, the one in progress counted by its devices; merging and evaluating take the rest of it."""
        return self.rounds + (self.training_share * self.answered / self.devices if self.devices else 0.0)


@dataclass
class Board:
    """Everything shown, brought up to date by events."""

    folder: CampaignFolder
    total: int = 0
    note: str = "starting"
    arms: dict[tuple[str, int], Arm] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    measured_from: tuple[float, float] | None = None  # when the first round began, and the work done until then

    def hear(self, event: str, facts: dict[str, Any]) -> None:
        """Take one event in."""
        arm = self.arms.get((facts.get("label", ""), facts.get("seed", -1)))
        if event == "started":
            self._start(facts)
        elif event == "loading":
            self.note = f"loading {facts['what']}"
        elif event == "ready":
            self.note = ""
        elif event == "notice":
            self.notices = [*self.notices, facts["message"]][-KEPT_NOTICES:]
        elif arm is not None:
            self._hear_arm(event, arm, facts)

    def _start(self, facts: dict[str, Any]) -> None:
        self.total = facts["rounds"]
        for named in facts["arms"]:
            arm = self.arms[named["label"], named["seed"]] = Arm(named["label"], named["seed"])
            arm.metric = self.folder.arm(arm.label, arm.seed).metric()
            for done in self.folder.arm(arm.label, arm.seed).rounds():
                arm.take(done)

    def _hear_arm(self, event: str, arm: Arm, facts: dict[str, Any]) -> None:
        if event == "planned":
            if self.measured_from is None:
                self.measured_from = time.monotonic(), self.work
            self.note, arm.state, arm.devices, arm.answered = "", "running", facts["devices"], 0
            arm.metric = self.folder.arm(arm.label, arm.seed).metric()
        elif event == "trained":
            arm.answered, arm.devices = facts["done"], facts["of"]
        elif event == "round":
            arm.take(facts)
        elif event == "arm-finished":
            arm.state, arm.devices = "finished", 0
        elif event == "arm-failed":
            arm.state, arm.devices = "failed", 0
            self.notices = [*self.notices, f"{arm.label} s{arm.seed} failed: {facts['reason']}"][-KEPT_NOTICES:]

    @property
    def work(self) -> float:
        return sum(self.total if arm.state in ("finished", "failed") else arm.work for arm in self.arms.values())

    def seconds_left(self) -> float | None:
        """Wall seconds until all arms are through, at the pace since the first round began."""
        if self.measured_from is None:
            return None
        since, before = self.measured_from
        done = self.work - before
        return (time.monotonic() - since) * (self.total * len(self.arms) - self.work) / done if done > 0 else None


@contextmanager
def watching(folder: CampaignFolder) -> Iterator[Listener]:
    """Show a campaign's events for as long as the block lasts."""
    console = Console(stderr=True, highlight=False)
    board = Board(folder)
    if not console.is_terminal:
        plain = PlainLines(board)
        plain.say(f"{folder.name}: starting")
        yield plain.hear
        return

    def hear(event: str, facts: dict[str, Any]) -> None:
        board.hear(event, facts)

    # four times a second: drawing takes about 1 ms of the process that also merges
    with Live(get_renderable=lambda: render(board, console.width), console=console, refresh_per_second=4):
        yield hear


@dataclass
class PlainLines:
    """The same for a log: a line per round and per thing worth knowing."""

    board: Board

    def hear(self, event: str, facts: dict[str, Any]) -> None:
        self.board.hear(event, facts)
        line = self._line(event, facts)
        if line:
            self.say(f"{self.board.folder.name}: {line}")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def _line(self, event: str, facts: dict[str, Any]) -> str:
        arm = self.board.arms.get((facts.get("label", ""), facts.get("seed", -1)))
        name = f"{arm.label} s{arm.seed}" if arm else ""
        if event == "loading":
            return f"loading {facts['what']}"
        if event == "ready":
            return f"ready after {facts['seconds']:.1f} s"
        if event == "notice":
            return str(facts["message"])
        if event == "arm-failed":
            return f"{name} failed: {facts['reason']}"
        if event == "round" and arm is not None:
            metric = arm.metric
            score = f"{metric.words} {metric.say(arm.score)}{metric.unit} (best {metric.say(arm.best)})"
            left = self.board.seconds_left()
            rest = f", about {duration(left)} left" if left else ""
            return f"{name} round {arm.rounds}/{self.board.total}: {score}, fleet time {seconds(arm.clock)}{rest}"
        return ""


def render(board: Board, width: int) -> RenderableType:
    """The live picture: a row an arm, then times and notices."""
    return Group(_arm_table(board, width), _footer(board), *(Text(notice, style="yellow") for notice in board.notices))


def _arm_table(board: Board, width: int) -> Table:
    wide = width >= 110
    table = Table(box=None, padding=(0, 2 if wide else 1, 0, 0), expand=bool(board.arms))
    table.add_column("arm", no_wrap=True)
    table.add_column("" if not wide else "progress", ratio=1)
    metric = next((arm.metric for arm in board.arms.values() if arm.rounds), ACCURACY)
    score = headed(metric.words, metric) if wide else headed("score", metric)
    for name in ("rounds", "devices", score, headed("best", metric) if wide else "best", "fleet time"):
        table.add_column(name, justify="right", no_wrap=True)
    several = len({arm.seed for arm in board.arms.values()}) > 1
    for arm in board.arms.values():
        style = {"failed": "red", "finished": "green", "waiting": "dim"}.get(arm.state)
        table.add_row(
            f"{arm.label} s{arm.seed}" if several else arm.label,
            ProgressBar(total=board.total, completed=arm.work),
            f"{arm.rounds}/{board.total}",
            f"{arm.answered}/{arm.devices}" if arm.devices else NONE,
            arm.metric.say(arm.score),
            arm.metric.say(arm.best),
            seconds(arm.clock) if arm.rounds else NONE,
            style=style,
        )
    return table if board.arms else Table(show_header=False, box=None)


def _footer(board: Board) -> Text:
    left = board.seconds_left()
    parts = [f"{board.folder.name}", f"{duration(time.monotonic() - board.began)} elapsed"]
    parts += [f"about {duration(left)} left"] if left else []
    parts += [board.note] if board.note else []
    return Text(" · ".join(parts), style="bold")


def duration(wall: float) -> str:
    """Wall-clock as people read it: 1:05, 2:03:04."""
    minutes, rest = divmod(round(wall), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
