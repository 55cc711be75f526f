"""One table of how fast FedQuad is: what is asked, what was measured last, beside whom.

make bench                   # measures all of it and prints the table; about 80 minutes on two idle cores
python -m benchmarks.speed   # only reads the rows that are kept
"""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from benchmarks.rows import kept

Line = tuple[str, str, str, str]


def last(name: str, **wanted: str) -> dict[str, str] | None:
    """The newest row of NAME.csv with these values."""
    rows = [row for row in kept(name) if all(row[key] == value for key, value in wanted.items())]
    return rows[-1] if rows else None


def lines() -> Iterator[Line]:
    """Measure, rival, asked, measured."""
    for setting, clients, asked in (("mini", "10", ">= 2 x loop, 3 x Flower"), ("mini", "100", ">= 2 x loop, 3 x Flower"), ("mixed", "100", ">= 2 x loop")):  # fmt: skip
        yield from _trainings(setting, clients, asked, ("loop", "flower", "pfl", "blazefl", "alone", "cohorts"))
    yield from _trainings(
        "encoder", "10", ">= 1.0 x loop; bf16 1.7 x", ("loop", "alone", "alone bf16", "cohorts", "cohorts bf16")
    )
    for clients in ("100", "1000", "10000"):
        if row := last("peers", setting="growing", clients=clients):
            told = f"{row['ms_a_training']} ms, {row['memory_mb']} MB"
            yield f"a training of one step, {clients} clients", "itself at 100", "+- 10 %; memory flat", told
    for start in ("nothing running", "server running"):
        for figure, asked in (("first_training_seconds", "<= 0.6"), ("whole_seconds", "<= 0.65")):
            if row := last("former", start=start, figure=figure):
                what = f"quickstart, {start}: {'first training' if figure.startswith('first') else 'whole'}"
                told = f"{row['now']} s against {row['former']} s: {row['times']}"
                yield what, f"commit {row['former_commit']}", asked, told
    for row in kept("where"):
        if row["task runs written"] == "many at a time":
            is_start = row["part"] == "start-up"
            told = f"{row['others_seconds']} CPU s" if is_start else f"{row['others_of_training']} of training's"
            yield f"quickstart: the other processes, {row['part']}", "", "<= 10 CPU s" if is_start else "<= 0.06", told
    if row := last("large_fleet", devices="100000"):
        told = f"start {row['start_seconds']} s; {row['merging_seconds']} + {row['storing_seconds']} s a round; {row['campaign_mb']} MB"
        yield "100,000 devices, 1,000 a round", "", "start < 30 s, < 1 s a round", told


def _trainings(setting: str, clients: str, asked: str, ways: tuple[str, ...]) -> Iterator[Line]:
    for way in ways:
        if row := last("peers", setting=setting, clients=clients, way=way):
            told = f"{row['trainings_per_second']} a second"
            if way not in ("loop", "flower", "pfl", "blazefl"):
                told += f": {row['times_the_loop']} x loop" + (
                    f", {row['times_flower']} x Flower" if row["times_flower"] else ""
                )
                yield (
                    f"{setting}, {clients} clients: {way}",
                    "loop, Flower" if row["times_flower"] else "loop",
                    asked,
                    told,
                )
            else:
                yield f"{setting}, {clients} clients: {way}", "", "", told


def main() -> None:
    table = Table(box=None, header_style="bold")
    for name in ("measure", "rival", "asked", "measured"):
        table.add_column(name)
    for line in lines():
        table.add_row(*line)
    Console().print(table)


if __name__ == "__main__":
    main()
