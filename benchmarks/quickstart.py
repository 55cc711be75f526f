"""What the quickstart campaign gives: the table of the README.

    python -m benchmarks.quickstart            # runs it; writes quickstart.csv
    python -m benchmarks.quickstart --json     # prints the rows

One row a round and arm; seconds, bytes and joules are the simulated fleet's, `wall_seconds` this machine's for the whole campaign.
"""

from benchmarks.campaigns import measure
from benchmarks.rows import arguments, record


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    _, rows = measure("quickstart")
    record("quickstart", rows, as_json=as_json)


if __name__ == "__main__":
    main()
