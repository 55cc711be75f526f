"""`fedquad campaign report`, `compare` and `export`: what came of campaigns, as a page, in the terminal, as one file."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fedquad.report.evidence import Evidence
    from fedquad.store.campaign import CampaignFolder

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, numbers unrounded.")]
MeanOf = Annotated[
    int, typer.Option("--mean-of", min=1, help="Take scores as the mean of the last so many evaluations.")
]


Named = Annotated[
    str, typer.Argument(metavar="NAME|ARCHIVE", help="A campaign, or what export made of one.", show_default=False)
]
To = Annotated[str, typer.Option("--to", metavar="FOLDER", help="Where the page goes instead.", show_default=False)]
ENDING = ".zip"


@contextmanager
def named(name: str) -> "Iterator[CampaignFolder]":
    """A campaign of the home, or the checked content of an archive."""
    from fedquad.store import archive, campaign

    if not name.endswith(ENDING):
        yield campaign.existing(name)
        return
    with archive.opened(Path(name)) as folder:
        yield folder


def report(name: Named, to: To = "", mean_of: MeanOf = 1, as_json: Json = False) -> None:
    """Write a campaign's report: one HTML page, its figures as SVG and PNG, its tables as CSV.

    An archive's goes to a folder NAME.report here.
    """
    from fedquad.report import page
    from tasks import report as reports

    with named(name) as folder:
        evidence = reports.of_one(folder, mean_of)
        home = Path(f"{folder.name}.report") if name.endswith(ENDING) else folder.path / "report"
        _answer(evidence, page.write(Path(to) if to else home, evidence), as_json)


def compare(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME|ARCHIVE...", help="Two campaigns or more.", show_default=False)
    ],
    target: Annotated[
        float | None,
        typer.Option(
            help="Score that speed is compared at; the least of the arms' best if left out.", show_default=False
        ),
    ] = None,
    faults: Annotated[
        bool,
        typer.Option("--faults", help="Let fleets differ in how often devices fail, and show what that costs."),
    ] = False,
    to: To = "",
    mean_of: MeanOf = 1,
    as_json: Json = False,
) -> None:
    """Compare campaigns that had the same data, fleet, model and prices: their arms side by side, on a page and here.

    The page goes to comparisons/A+B of the home.
    """
    from fedquad.report import page
    from fedquad.store import campaign as store
    from tasks import report as reports

    with ExitStack() as stack:
        folders = [stack.enter_context(named(name)) for name in names]
        evidence = reports.of_several(folders, target, mean_of, faults)
    folder = Path(to) if to else store.home() / "comparisons" / "+".join(one.name for one in folders)
    _answer(evidence, page.write(folder, evidence), as_json)


def export(
    name: Annotated[str, typer.Argument(help="The campaign's name.", show_default=False)],
    to: Annotated[
        str,
        typer.Option("--to", metavar="FILE", help="The archive; ./NAME.fedquad.zip if left out.", show_default=False),
    ] = "",
    as_json: Json = False,
) -> None:
    """Make one archive of a campaign: spec, facts, kept states, adapters and report.

    Another machine checks it with `campaign verify` and reports from it with `campaign report`.
    """
    from fedquad.store import archive
    from fedquad.store import campaign as store
    from tasks import report as reports

    folder = store.existing(name)
    folder.write_summary()
    reports.write(folder)
    path = archive.write(folder, Path(to or f"{name}.fedquad.zip"))
    if as_json:
        print(json.dumps({"archive": str(path.resolve()), "bytes": path.stat().st_size}, indent=1))
    else:
        print(path)


def _answer(evidence: "Evidence", page: Path, as_json: bool) -> None:
    if as_json:
        document: dict[str, Any] = {key: value for key, value in evidence.summary.items() if key != "arms"}
        print(json.dumps({"page": str(page), **document}, indent=1, allow_nan=False))
        return
    from fedquad.cli import evidence_tables, tables

    console = tables.console()
    for part in evidence_tables.parts(evidence, console.width):
        console.print(part)
    console.print(f"\nreport: {page}", soft_wrap=True)
