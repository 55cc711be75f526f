"""`fedquad device status`: what this machine says of itself as a device."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fedquad.device.board import BoardReading

app = typer.Typer(no_args_is_help=True, help="Be a device of a fleet, and see what it says of itself.")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, numbers unrounded.")]


@app.command()
def status(as_json: Json = False) -> None:
    """Say what this machine can spare: memory, power mode, clocks, power, temperature."""
    from fedquad.device.board import read_board

    reading = read_board()
    if as_json:
        print(json.dumps(document(reading), allow_nan=False))
        return
    from fedquad.cli import device_table, tables

    tables.console().print(device_table.status(reading))


def document(reading: "BoardReading") -> dict[str, Any]:
    """A reading as data; JSON knows no nan, so what is missing is null."""
    from dataclasses import asdict

    fields = asdict(reading)
    return {key: None if isinstance(value, float) and value != value else value for key, value in fields.items()}
