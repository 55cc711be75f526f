"""`fedquad up` and `fedquad down`: the servers of this machine."""

import json
import sys
from typing import Annotated, Any

import typer

JSON = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, numbers unrounded.")]
STYLES = {"running": "green", "starting": "yellow", "stopped": "dim"}


def up(
    context: typer.Context,
    status: Annotated[bool, typer.Option("--status", help="Start nothing; say what runs.")] = False,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1 unless told.", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Prefect's port; 4200 unless told.", min=1, max=65535, show_default=False)
    ] = None,
    mlflow_port: Annotated[
        int | None, typer.Option(help="MLflow's port; 5000 unless told.", min=1, max=65535, show_default=False)
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="FEDQUAD_DATABASE_URL",
            help="Postgres for Prefect, as postgresql+asyncpg://user@host/database; SQLite unless told.",
            show_default=False,
        ),
    ] = None,
    as_json: JSON = False,
) -> None:
    """Start Prefect, MLflow and a worker for campaigns in the background, with passwords; what runs already stays.

    Campaigns can then be scheduled in Prefect's UI, and every other command finds both servers by itself. Options are kept for the
    next time.
    """
    from flows import services, upkeep

    if database_url:
        source = context.get_parameter_source("database_url")
        services.check_database(database_url, source is not None and source.name == "COMMANDLINE")
    if status:
        found = upkeep.status()
    else:
        asked = {"host": host, "port": port, "mlflow_port": mlflow_port, "database_url": database_url}
        found = upkeep.up(services.place(**asked), lambda line: print(line, file=sys.stderr))
    print(json.dumps(found)) if as_json else _print(found)


def down(as_json: JSON = False) -> None:
    """End what `fedquad up` started, and all that it started in turn."""
    from flows import upkeep

    ended = upkeep.down()
    if as_json:
        print(json.dumps({"ended": ended}))
    else:
        print(f"ended: {', '.join(ended)}" if ended else "nothing of ours was running")


def _print(found: dict[str, Any]) -> None:
    """The status as a table, and what to do next."""
    from rich.table import Table

    from fedquad.cli import tables

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("server", "state", "address", "pid", "up"):
        table.add_column(name, no_wrap=True)
    for row in found["servers"]:
        style = STYLES[row["state"]]
        pid = "" if row["pid"] is None else str(row["pid"])
        table.add_row(row["name"], f"[{style}]{row['state']}[/]", row["url"], pid, _for(row["uptime_seconds"]))
    console = tables.console()
    console.print(table)
    joined = {name: count for name, count in found["pools"].items() if name.startswith("jetson") and count}
    if joined:
        console.print(f"devices: {', '.join(f'{count} in {name}' for name, count in sorted(joined.items()))}")
    if found["credentials"]:
        console.print(f"passwords: {found['credentials']}", soft_wrap=True)
    if all(row["state"] == "stopped" for row in found["servers"]):
        console.print("`fedquad up` starts them")


def _for(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
