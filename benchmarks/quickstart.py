"""What the quickstart campaign gives: the figure and the table of the README.

    python -m benchmarks.quickstart            # runs it; writes quickstart.csv and docs/quickstart.png
    python -m benchmarks.quickstart --json     # prints the rows

One row a round and arm; seconds, bytes and joules are the simulated fleet's, `wall_seconds` this machine's for the whole campaign.
"""

from pathlib import Path

from benchmarks.campaigns import measure
from benchmarks.rows import arguments, record
from fedquad.report import curves


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    summary, rows = measure("quickstart")
    record("quickstart", rows, as_json=as_json)
    if not as_json:
        curves.draw(summary, Path(__file__).parents[1] / "docs" / "quickstart.png")


if __name__ == "__main__":
    main()
