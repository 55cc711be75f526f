"""`fedquad device serve | trainer | status`: be a device of a fleet, and see what it says of itself."""

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


Name = Annotated[
    str, typer.Option("--name", help="The device's name, which is its queue's: small letters, digits and -.")
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="The folder of the device's own examples, or an embedded task (mini-nli), of which it makes some.",
    ),
]
Model = Annotated[
    str, typer.Option("--model", help="A folder with the backbone, in place of the campaign's name for it.")
]
Labels = Annotated[
    str, typer.Option("--label-column", help="The column of the labels, which are part of the device's status.")
]


Objective = Annotated[
    str,
    typer.Option(
        "--objective",
        help="What the labels are for: classification, regression, ...; empty: the embedded task's, else classification.",
    ),
]


@app.command()
def serve(
    pool: Annotated[str, typer.Option("--pool", help="The work pool to join: jetson-agx, jetson-orin, ...")],
    name: Name,
    data: Data = "",
    server: Annotated[str, typer.Option("--server", help="Prefect's API; empty: the credentials file's.")] = "",
    credentials: Annotated[
        str, typer.Option("--credentials", help="A copy of the server's credentials.json; empty: this machine's.")
    ] = "",
    exchange: Annotated[
        str,
        typer.Option(
            "--exchange", help="Where adapters pass: `mlflow`, or an fsspec URL, as the campaign's fleet.exchange."
        ),
    ] = "mlflow",
    model: Model = "",
    label_column: Labels = "label",
    objective: Objective = "",
    own_trainer: Annotated[
        bool,
        typer.Option(
            "--trainer/--no-trainer", help="Start the resident trainer too, or wait for `fedquad device trainer`."
        ),
    ] = True,
) -> None:
    """Be a device: join a pool, keep model and data loaded, report, train, until Ctrl-C."""
    from flows.join import Serving, serve_device

    serve_device(
        Serving(
            pool=pool, name=name, data=data, server=server, credentials=credentials, exchange=exchange, model=model,
            label_column=label_column, objective=objective, own_trainer=own_trainer,
        )
    )  # fmt: skip


@app.command()
def trainer(
    name: Name, data: Data, model: Model = "", label_column: Labels = "label", objective: Objective = ""
) -> None:
    """Be a device's resident trainer alone, for a `serve` in another container: it needs neither network nor credentials."""
    from fedquad.onboard.folder import device_folder
    from fedquad.onboard.trainer import main

    folder = device_folder(name)
    folder.make()
    main(folder.path, data, model, label_column, objective)
