"""`fedquad fleet show | sample`: the boards that are known, and a fleet as a campaign would draw it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fedquad.fleets.boards import Board

app = typer.Typer(no_args_is_help=True, help="Look at boards and at drawn fleets.")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, numbers unrounded.")]


@app.command()
def show(
    board: Annotated[str | None, typer.Argument(help="One board, with its sources.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Show every board's power modes, or one board with where its numbers are from."""
    from fedquad import discover
    from fedquad.errors import one_of

    known = discover.boards()
    if board is not None and board not in known:
        raise one_of("board", board, list(known))
    chosen = list(known.values()) if board is None else [known[board]]
    if as_json:
        print(json.dumps({"boards": [document(one) for one in chosen]}))
        return
    from fedquad.cli import fleet_tables, tables

    console = tables.console()
    console.print(fleet_tables.boards(chosen))
    if board is not None:
        console.print(fleet_tables.sources(chosen[0]))


@app.command()
def sample(
    source: Annotated[str, typer.Argument(metavar="[PRESET|FILE.yaml]", help="The campaign.")] = "quickstart",
    round: Annotated[int, typer.Option(help="The round whose statuses are drawn.", min=1)] = 1,
    seed: Annotated[int | None, typer.Option(help="The campaign's first if left out.", show_default=False)] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw it into this PNG or SVG as well.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change one setting of the campaign.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw a campaign's fleet: what each device has in a round."""
    from fedquad import discover
    from fedquad.cli.plan import cost_of
    from fedquad.fleets import fleet
    from fedquad.store import inputs
    from flows import edge

    spec = edge.campaign_spec(source, settings=settings or ())
    chosen, cost = spec.seeds[0] if seed is None else seed, cost_of(spec)
    drawn = fleet.resolve(spec.fleet, discover.boards(), inputs.trace_of(spec.fleet))
    statuses = fleet.draw(drawn, cost, chosen, round)
    if picture is not None:
        from fedquad.report import fleet_figure

        fleet_figure.save(drawn, cost, chosen, spec.rounds, picture)
    if as_json:
        from dataclasses import asdict

        rows = [asdict(statuses[device]) for device in range(len(statuses))]
        print(json.dumps({"round": round, "seed": chosen, "priced_as": cost.name, "devices": finite(rows)}))
        return
    from fedquad.cli import fleet_tables, tables

    tables.console().print(fleet_tables.sample(drawn, statuses, cost, round, chosen))
    if picture is not None:
        print(f"drawn into {picture}")


def document(board: "Board") -> dict[str, Any]:
    """A board as data, with what is derived of each mode."""
    from dataclasses import asdict

    from fedquad.fleets import boards

    modes = [
        {
            **asdict(mode),
            "peak_flops": {p: boards.peak_flops(board, mode, p) for p in ("fp32", "fp16", "tf32", "bf16")},
            "sustained_flops": boards.sustained_flops(board, mode),
            "memory_bandwidth": boards.memory_bandwidth(board, mode),
            "training_watts": boards.training_watts(board, mode),
            "source": mode.source or board.sources["modes"],
        }
        for mode in board.modes
    ]
    return {**asdict(board), "free_bytes": boards.free_bytes(board), "modes": modes}


def finite(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """JSON knows no infinity: a free network's bandwidth is null."""
    return [{key: None if value == float("inf") else value for key, value in row.items()} for row in rows]


@app.command()
def record(
    campaign: Annotated[str, typer.Argument(help="A campaign that ran on real devices.")],
    arm: Annotated[str, typer.Option("--arm", help="Its arm, LABEL-sSEED; empty: its only one.")] = "",
    to: Annotated[str, typer.Option("--to", help="Where the trace goes.")] = "trace.json",
) -> None:
    """Write what a campaign's real devices reported and took, for `fleet.trace`: the simulated fleet replays it."""
    from fedquad.errors import SpecError
    from fedquad.fleets import replay
    from fedquad.store import files
    from fedquad.store.campaign import campaign as campaign_folder

    arms = {one.path.name: one for one in campaign_folder(campaign).arms()}
    chosen = arm or (next(iter(arms)) if len(arms) == 1 else "")
    if chosen not in arms:
        raise SpecError(f"--arm is {arm!r}, but campaign {campaign} has the arms {', '.join(arms) or 'of nobody yet'}")
    rounds = arms[chosen].rounds()
    files.write_bytes(Path(to), replay.record(rounds, campaign, chosen).encode())
    print(f"{to}: {len(rounds)} rounds of {campaign}'s {chosen}; `fleet: {{trace: {to}}}` replays them")
