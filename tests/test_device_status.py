"""`fedquad device status`: a table that reads well, or one document."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from published import MACHINES, Machine
from rich.console import Console

from fedquad.cli import device, device_table
from fedquad.device.board import BoardReading, read_board

FEDQUAD = Path(sys.executable).with_name("fedquad")


def shown(reading: BoardReading, columns: int) -> str:
    console = Console(width=columns, force_terminal=False)
    with console.capture() as captured:
        console.print(device_table.status(reading))
    return captured.get()


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_the_table_says_all_of_it_at_any_width(machine: Machine, columns: int, tmp_path: Path) -> None:
    reading = read_board(machine.lie_in(tmp_path), machine.run)
    text = shown(reading, columns)
    assert all(len(line) <= columns for line in text.splitlines())
    words = " ".join(text.split())
    for said in (reading.model, reading.release, reading.mode, f"{reading.celsius:.1f} °C", *reading.modes):
        assert said in words
    assert all(rail.name in words for rail in reading.rails)
    assert ("not found" in words) == bool(reading.missing)


def test_an_empty_board_reads_as_dashes_and_a_list_of_what_is_missing(tmp_path: Path) -> None:
    text = shown(read_board(tmp_path, lambda *command, lines: ""), 200)
    assert text.count(" -") >= 7
    assert "power mode" in text
    assert "nan" not in text


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_the_document_has_every_field_and_null_for_what_is_missing(machine: Machine, tmp_path: Path) -> None:
    reading = read_board(machine.lie_in(tmp_path), machine.run)
    document = json.loads(json.dumps(device.document(reading), allow_nan=False))
    assert list(document) == list(BoardReading.__dataclass_fields__)
    assert [key for key, value in document.items() if value in (None, "", []) and key != "missing"] == document[
        "missing"
    ]
    assert document["rails"] == [{"name": rail.name, "watts": rail.watts} for rail in reading.rails]


def test_the_command_answers_on_this_machine_without_torch_or_prefect() -> None:
    program = (
        "import sys\nfor name in ('torch', 'prefect', 'mlflow', 'numpy'): sys.modules[name] = None\n"
        "sys.argv = ['fedquad', 'device', 'status', '--json']\nfrom fedquad.cli.main import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["memory_free_bytes"] > 0
