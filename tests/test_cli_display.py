"""What is shown while a campaign runs, from the events alone."""

from pathlib import Path
from typing import Any

import handmade
import pytest
from rich.console import Console

from fedquad.cli import display
from fedquad.store import campaign as store

ARMS = [{"label": "fedlora", "seed": 0}, {"label": "fedlora:oracle", "seed": 0}]
FEDLORA = {"label": "fedlora", "seed": 0}


@pytest.fixture
def board(tmp_path: Path, monkeypatch: Any) -> display.Board:
    handmade.home_is(tmp_path, monkeypatch)
    return display.Board(store.campaign("seen"))


def started(board: display.Board, rounds: int = 4) -> display.Board:
    board.hear("started", {"campaign": "seen", "arms": ARMS, "rounds": rounds})
    return board


def picture(board: display.Board, columns: int = 80) -> str:
    console = Console(width=columns, force_terminal=False)
    with console.capture() as captured:
        console.print(display.render(board, columns))
    return captured.get()


def test_it_says_starting_before_anything_is_known(board: display.Board) -> None:
    assert "starting" in picture(board)


def test_it_says_what_is_being_loaded(board: display.Board) -> None:
    board.hear("loading", {"what": "model"})
    assert "loading model" in picture(board)


def test_rounds_devices_accuracy_and_clock_are_followed(board: display.Board) -> None:
    started(board).hear("planned", {**FEDLORA, "round": 1, "devices": 9})
    board.hear("trained", {**FEDLORA, "round": 1, "done": 4, "of": 9})
    assert "4/9" in picture(board)
    board.hear("round", {**FEDLORA, **handmade.facts(1, 0.7)})
    board.hear("round", {**FEDLORA, **handmade.facts(2, 0.6)})
    shown = picture(board)
    for words in ("2/4", "60.0", "70.0", "3.4 min", "elapsed", "left"):
        assert words in shown, shown


def test_a_resumed_campaign_begins_where_it_stands(board: display.Board) -> None:
    handmade.make("seen", handmade.spec("fedlora", "fedlora:oracle", rounds=4), 3)
    assert picture(started(board)).count("3/4") == 2


def test_time_left_counts_only_the_work_of_this_run(board: display.Board, monkeypatch: Any) -> None:
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    handmade.make("seen", handmade.spec("fedlora", "fedlora:oracle", rounds=4), 2)
    started(board).hear("planned", {**FEDLORA, "round": 3, "devices": 2})
    now[0] = 110.0
    board.hear("round", {**FEDLORA, **handmade.facts(3)})
    assert board.seconds_left() == pytest.approx(30.0)  # three rounds of ten seconds are left


def test_failures_and_notices_are_shown_with_their_reason(board: display.Board) -> None:
    started(board).hear("arm-failed", {**FEDLORA, "reason": "no device answered"})
    board.hear("notice", {"message": "MLflow is out of reach"})
    shown = picture(board)
    assert "fedlora s0 failed: no device answered" in shown
    assert "MLflow is out of reach" in shown


@pytest.mark.parametrize("columns", [80, 200])
def test_it_fits_its_terminal(board: display.Board, columns: int) -> None:
    started(board, 100).hear("planned", {**FEDLORA, "round": 1, "devices": 900})
    board.hear("round", {**FEDLORA, **handmade.facts(99, 1.0)})
    board.hear("trained", {**FEDLORA, "round": 100, "done": 800, "of": 900})
    lines = picture(board, columns).splitlines()
    assert max(map(len, lines)) <= columns
    assert not any("…" in line for line in lines)
    assert columns < 100 or max(len(line.rstrip()) for line in lines) > 150


def test_a_log_gets_a_plain_line_a_round(board: display.Board, capsys: Any) -> None:
    lines = display.PlainLines(board)
    lines.hear("loading", {"what": "data"})
    lines.hear("started", {"campaign": "seen", "arms": ARMS, "rounds": 4})
    lines.hear("round", {**FEDLORA, **handmade.facts(1, 0.5)})
    lines.hear("trained", {**FEDLORA, "round": 2, "done": 1, "of": 2})
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == "seen: loading data"
    assert said.err.splitlines()[1].startswith("seen: fedlora s0 round 1/4: accuracy 50.0 %")
    assert len(said.err.splitlines()) == 2


@pytest.mark.parametrize(("wall", "text"), [(5, "0:05"), (65, "1:05"), (7384, "2:03:04")])
def test_durations_read_like_a_clock(wall: float, text: str) -> None:
    assert display.duration(wall) == text
