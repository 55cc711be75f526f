"""`fedquad campaign ...`: run, list, show, resume, presets, verify; report, compare and export are of campaign_evidence."""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from fedquad.cli import campaign_evidence

app = typer.Typer(no_args_is_help=True, help="Run campaigns and look at them.")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, numbers unrounded.")]
Name = Annotated[str, typer.Argument(help="The campaign's name.", show_default=False)]
Trust = Annotated[bool, typer.Option("--trust-methods", help="Run the .py files that the campaign names as methods.")]


def _list_keys(wanted: bool) -> None:
    if not wanted:
        return
    from fedquad.cli import tables

    console = tables.console()
    console.print(tables.setting_keys(console.width))
    raise typer.Exit


@app.command()
def run(
    source: Annotated[str, typer.Argument(metavar="[PRESET|FILE.yaml]", help="What to run.")] = "quickstart",
    name: Annotated[
        str | None, typer.Option(help="Name of the campaign; the preset's if left out.", show_default=False)
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Methods to compare instead of the preset's: fedquad,fedlora:oracle", show_default=False),
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds an arm runs at most.", show_default=False)] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds, each arm runs once for each: 0,1", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY.PATH=VALUE", help="Change one setting, as often as needed; --keys lists them."
        ),
    ] = None,
    list_keys: Annotated[
        bool, typer.Option("--keys", callback=_list_keys, is_eager=True, help="List what --set can change, and end.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Set an old campaign of this name aside and begin anew.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a campaign, or go on with one that was stopped.

    A finished campaign prints its table again.
    """
    from fedquad.store import campaign as store
    from flows import edge

    spec = edge.campaign_spec(source, methods=methods, rounds=rounds, seeds=seeds, settings=settings or ())
    folder = store.campaign(edge.campaign_name(source) if name is None else name)
    if fresh and (aside := folder.set_aside()):
        print(f"the old campaign is now {aside.name}", file=sys.stderr)
    _run(folder, spec, as_json)


@app.command()
def resume(
    name: Name,
    from_round: Annotated[
        int | None,
        typer.Option(
            "--from-round", min=1, help="Go back to this round first; later ones are set aside.", show_default=False
        ),
    ] = None,
    trust_methods: Trust = False,
    as_json: Json = False,
) -> None:
    """Go on with a campaign after its last finished round, with the spec it was started with."""
    from fedquad.store import campaign as store

    folder = store.existing(name)
    spec = _own_spec(folder, trust_methods)
    if from_round is not None:
        for aside in folder.rewind(from_round):
            print(f"the rounds after {from_round} are now in {aside}", file=sys.stderr)
    _run(folder, spec, as_json)


def _own_spec(folder: Any, trust_methods: bool) -> Any:
    """The spec that a campaign's folder holds; code that it names runs only when the user says so."""
    from fedquad import discover
    from fedquad.errors import SpecError
    from flows import edge

    spec = edge.typed(folder.stored_spec())
    strangers = [arm.method for arm in spec.arms if discover.is_file(arm.method)]
    if strangers and not trust_methods:
        raise SpecError(
            f"campaign {folder.name!r} names code that is not installed as its methods: {', '.join(strangers)}; "
            f"read it, then say --trust-methods"
        )
    edge.check_methods(spec)
    return spec


def _run(folder: Any, spec: Any, as_json: bool) -> None:
    with folder.open(
        spec
    ):  # refuses another spec, a second process and a disk that cannot be written, before seconds of imports
        has_finished = folder.check()
        if has_finished:
            folder.renew_lines()
    if has_finished:
        print(f"campaign {folder.name} has finished; --fresh runs it anew", file=sys.stderr)
        _send_rest(folder, spec)
        _report_if_missing(folder)
        return _close(folder, folder.write_summary(), as_json)
    from fedquad.cli import display, duration
    from fedquad.errors import ArmFailedError

    _say_how_long(folder, spec)
    failure = None
    with display.watching(folder) as listener:
        from flows import launch

        try:
            summary = launch.run(spec, folder.name, listener=listener)
        except ArmFailedError as error:  # the other arms are complete: show them, then end with its exit code
            summary, failure = folder.summarise(), error
    _close(folder, summary, as_json)
    duration.learn(folder, spec)
    if failure is not None:
        raise failure


def _say_how_long(folder: Any, spec: Any) -> None:
    """Say what the rounds that are left will take here, as far as this machine is known."""
    from fedquad.cli import duration
    from fedquad.store import speed

    found = duration.expected(spec, speed.rates(), done=sum(arm.last_number() for arm in folder.arms()))
    told = f"about {duration.words(found)} on this machine, by {found['source']}" if found else ""
    unknown = "how long this takes here is not known yet; `fedquad campaign presets` times a few steps"
    print(f"campaign {folder.name}: {told or unknown}", file=sys.stderr)


def _send_rest(folder: Any, spec: Any) -> None:
    """Give MLflow what it did not get while the campaign ran."""
    if all(arm.is_tracked() for arm in folder.arms()):
        return
    from flows import send

    for said in send.run(spec, folder.name):
        print(f"{folder.name}: {said}", file=sys.stderr)


def _report_if_missing(folder: Any) -> None:
    """Write the report of a campaign that was run before there were any."""
    if not (folder.path / "report" / "index.html").exists():
        from tasks import report as reports

        reports.write(folder)


def _close(folder: Any, summary: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        return _print_json(summary)
    from fedquad.cli import tables

    console = tables.console()
    console.print(tables.campaign_summary(summary, folder.stored_spec(), console.width))
    console.print()
    console.print(tables.where_next(folder, summary), soft_wrap=True)


@app.command("list")
def list_campaigns(as_json: Json = False) -> None:
    """List the campaigns of this home, and how far each is."""
    from fedquad.store import campaign as store

    rows = [_row(folder) for folder in store.campaigns()]
    if as_json:
        return _print_json({"home": str(store.home()), "campaigns": rows})
    from fedquad.cli import tables

    if not rows:
        print(f"no campaigns in {store.home()} yet; begin with: fedquad campaign run")
        return
    console = tables.console()
    console.print(tables.titled(f"campaigns in {store.home()}", tables.campaign_list(rows, console.width)))


def _row(folder: Any) -> dict[str, Any]:
    from fedquad.errors import FedquadError
    from fedquad.objective import metric_of

    try:
        spec, summary = folder.stored_spec(), folder.summarise()
        state = folder.status(summary)
    except FedquadError as error:  # one that cannot be read hides none of the others
        return {"campaign": folder.name, "state": "broken", "error": " ".join(str(error).split())}
    metric = metric_of(summary)
    best = metric.best(arm["best_score"] for arm in summary["arms"] if arm["best_score"] is not None)
    return {
        "campaign": folder.name,
        "state": state,
        "arms": len(summary["arms"]),
        "rounds_done": sum(len(arm["rounds"]) for arm in summary["arms"]),
        "rounds": spec["rounds"] * len(summary["arms"]),
        "metric": metric.name,
        "best_score": best,
        "best": metric.say(best) + (metric.unit if best is not None else ""),
        "model": spec["model"]["name"],
        "data": spec["data"]["name"],
        "priced_as": spec["cost"]["priced_as"],
    }


@app.command()
def show(name: campaign_evidence.Named, mean_of: campaign_evidence.MeanOf = 1, as_json: Json = False) -> None:
    """Show a campaign: its figures, its curves, its settings, what it was computed with."""
    with campaign_evidence.named(name) as folder:
        _show(folder, mean_of, as_json, name if name.endswith(campaign_evidence.ENDING) else str(folder.path))


def _show(folder: Any, mean_of: int, as_json: bool, where: str) -> None:
    from fedquad.objective import metric_of
    from fedquad.report.words import axis_of
    from fedquad.spec import CampaignSpec
    from fedquad.spec_text import plain
    from tasks import report as reports

    evidence = reports.of_one(folder, mean_of)
    spec, summary, state = folder.stored_spec(), evidence.summary, evidence.state
    if as_json:
        return _print_json({**summary, "state": state, "spec": spec})
    from fedquad.cli import evidence_tables, tables

    console = tables.console()
    width = console.width
    console.print(tables.campaign_summary(summary, spec, width))
    for part in (*evidence_tables.targets(evidence, width), evidence_tables.curve(evidence, width)):
        if part is not None:
            console.print(part)
    for title, table in {
        f"{axis_of(metric_of(summary)).replace(',', '')} after round": tables.rounds(summary, spec, width),
        "settings that differ from the defaults": tables.settings(spec, plain(CampaignSpec()), width),
        "computed with": tables.facts(summary["environment"], width),
        "compared on (digests)": tables.facts(summary["digests"], width),
    }.items():
        if table.row_count and table.columns[1:]:
            console.print()
            console.print(tables.titled(title, table))
    console.print(f"\n{folder.name}: {state}, in {where}", soft_wrap=True)


@app.command()
def presets(as_json: Json = False) -> None:
    """List the campaigns that come with the package, and what each takes on this machine.

    The first time, a few training steps are timed.
    """
    from fedquad import discover
    from fedquad.cli import duration
    from flows import edge

    rates = duration.measured()
    rows = [
        {
            "preset": name,
            "also": list(discover.other_names(name)),
            "about": discover.preset_line(name),
            "expected": duration.expected(edge.campaign_spec(name), rates),
        }
        for name in discover.presets()
    ]
    if as_json:
        return _print_json({"presets": rows, "rates": dict(rates)})
    from fedquad.cli import tables

    console = tables.console()
    console.print(tables.preset_list(rows, console.width))


@app.command()
def verify(
    name: campaign_evidence.Named,
    rounds: Annotated[
        int, typer.Option(min=0, help="Rounds of each arm that are computed again; 0 only checks what is there.")
    ] = 2,
    trust_methods: Trust = False,
    as_json: Json = False,
) -> None:
    """Check all that a campaign's results rest on, compute its first rounds again, elsewhere, and compare them bit by bit."""
    with campaign_evidence.named(name) as folder:
        _verify(folder, rounds, trust_methods, as_json)


def _verify(folder: Any, rounds: int, trust_methods: bool, as_json: bool) -> None:
    from fedquad.cli import check, display
    from fedquad.errors import DifferenceError, SpecError

    spec = _own_spec(folder, trust_methods)
    folder.check()
    if not any(arm.rounds() for arm in folder.arms()):
        raise SpecError(f"campaign {folder.name!r} has no finished round to compare with")
    if rounds:
        with display.watching(folder) as listener, check.elsewhere() as there:
            from flows import launch

            launch.run(spec, folder.name, listener=listener, until=rounds)
            document = check.compare(folder, there / "campaigns" / folder.name, spec, rounds)
    else:
        document = {"campaign": folder.name, "rounds_compared": 0, "differences": [], "inputs": {}, "environment": {}}
    if as_json:
        _print_json(document)
    else:
        print(check.describe(document))
    if document["differences"]:
        raise DifferenceError(check.blame(document))


app.command()(campaign_evidence.report)
app.command()(campaign_evidence.compare)
app.command()(campaign_evidence.export)


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=1, allow_nan=False))
