"""`fedquad device status`: what this machine says of itself as a device."""

import json
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Be a device of a fleet.")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, numbers unrounded.")]


@app.command()
def status(as_json: Json = False) -> None:
    """Say what this machine can spare: memory, power mode, clocks, power, temperature."""
    from dataclasses import asdict

    from fedquad.device.board import read_board

    reading = asdict(read_board())
    if as_json:
        print(json.dumps({key: None if value != value else value for key, value in reading.items()}))
        return
    for key, value in reading.items():
        print(f"{key:20} {value}")
