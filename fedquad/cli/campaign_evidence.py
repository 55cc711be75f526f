"""`fedquad campaign report` and `compare`: what came of campaigns, as a page and in the terminal."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fedquad.report.evidence import Evidence

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, numbers unrounded.")]
MeanOf = Annotated[
    int, typer.Option("--mean-of", min=1, help="Take scores as the mean of the last so many evaluations.")
]


def report(
    name: Annotated[str, typer.Argument(help="The campaign's name.", show_default=False)],
    mean_of: MeanOf = 1,
    as_json: Json = False,
) -> None:
    """Write a campaign's report: one HTML page, its figures as SVG and PNG, its tables as CSV."""
    from fedquad.store import campaign as store
    from tasks import report as reports

    evidence = reports.of_one(store.existing(name), mean_of)
    page = reports.page.write(store.existing(name).path / "report", evidence)
    _answer(evidence, page, as_json)


def compare(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Two campaigns or more.", show_default=False)],
    target: Annotated[
        float | None,
        typer.Option(
            help="Accuracy that speed is compared at; the least of the arms' best if left out.", show_default=False
        ),
    ] = None,
    to: Annotated[
        str,
        typer.Option("--to", help="Folder for the page; comparisons/A+B of the home if left out.", show_default=False),
    ] = "",
    mean_of: MeanOf = 1,
    as_json: Json = False,
) -> None:
    """Compare campaigns that had the same data, fleet, model and prices: their arms side by side, on a page and here."""
    from fedquad.store import campaign as store
    from tasks import report as reports

    evidence = reports.of_several([store.existing(name) for name in names], target, mean_of)
    folder = Path(to) if to else store.home() / "comparisons" / "+".join(names)
    _answer(evidence, reports.page.write(folder, evidence), as_json)


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
