"""The tables of a report: what a cell says, the unrounded number behind it, and the same as CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedquad import discover
from fedquad.objective import Metric
from fedquad.report import evidence as series
from fedquad.report.evidence import Evidence
from fedquad.report.words import NONE, amount, headed, seconds

PAPER_SPEEDUPS = {  # Table III, and Section V-B's 24.5 and 74.7 % less time: MNLI, RoBERTa-large, 100 devices
    "fedra": 75.9 / 14.2, "inclusivefl": 45.2 / 14.2, "layersel": 26.3 / 14.2, "hetlora": 20.6 / 14.2,
    "fedquad_wo_qd": 1 / (1 - 0.245), "fedquad_wo_ld": 1 / (1 - 0.747),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown, and the number that it is of."""

    text: str
    value: float | int | str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table by name; the first column of a row names it."""

    name: str
    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


def all_of(evidence: Evidence) -> dict[str, Table]:
    made = (methods, targets, budgets, faults, arms, failing, rounds)
    return {table.name: table for make in made for table in make(evidence)}


def methods(evidence: Evidence) -> Iterable[Table]:
    """A row a label, means over its seeds."""
    metric, sums = evidence.metric, {label: _sums(evidence, label) for label in evidence.labels}
    rows = [
        [
            Cell(row["label"], row["label"]),
            Cell(str(len(row["seeds"])), len(row["seeds"])),
            _score(row["start_score"], metric),
            _score(row["final_score"], metric),
            _score(row["best_score"], metric),
            _time(row["round_seconds"]),
            _time(row["mean_wait_seconds"]),
            _amount(row["total_bytes"], "B"),
            _amount(row["total_joules"], "J"),
            Cell(str(sums[row["label"]][0]), sums[row["label"]][0]),
            Cell(str(sums[row["label"]][1]), sums[row["label"]][1]),
        ]
        for row in evidence.summary["comparison"]["methods"]
    ]
    headers = ("method", "seeds", headed("start", metric), headed("final", metric), headed("best", metric), "a round", "waiting a round", "traffic", "energy", "over memory", "failures")  # fmt: skip
    remarks = {
        method: discover.remark(method) for method in dict.fromkeys(arm["method"] for arm in evidence.summary["arms"])
    }
    note = " ".join(f"{method}: {remark}." for method, remark in remarks.items() if remark)
    yield Table("methods", "Methods", headers, rows, note)


def targets(evidence: Evidence) -> Iterable[Table]:
    """Time to each target, and how many times sooner the reference was; the paper's figure beside it."""
    found, metric = evidence.summary["comparison"], evidence.metric
    headers = ("method", "reached", "fleet time", "95 % interval", f"{found['reference']}'s speed-up" if found["reference"] else "speed-up", "95 % interval", "told apart", "the paper's")  # fmt: skip
    for number, target in enumerate(found["targets"], 1):
        rows = []
        for row in target["rows"]:
            time, sooner = row["over_seeds"], row["speed_up"]
            paper = PAPER_SPEEDUPS.get(row["label"]) if found["reference"] == "fedquad" else None
            told = {True: "yes", False: "no: cannot be told apart", None: "one seed" if sooner else NONE}[
                row["told_apart"]
            ]
            rows.append(
                [
                    Cell(row["label"], row["label"]),
                    Cell(f"{row['reached']}/{len(row['seeds'])}", row["reached"]),
                    _time(time),
                    Cell(
                        f"{seconds(time['low'])} to {seconds(time['high'])}"
                        if time and time["low"] is not None
                        else NONE
                    ),
                    Cell(f"{sooner['mean']:.2f} times" if sooner else NONE, sooner["mean"] if sooner else None),
                    Cell(
                        f"{sooner['low']:.2f} to {sooner['high']:.2f}" if sooner and sooner["low"] is not None else NONE
                    ),
                    Cell(told),
                    Cell(f"{paper:.2f} times" if paper else NONE, paper),
                ]
            )
        note = (
            "The paper's column is its own setting's: RoBERTa-large, MNLI, 100 Jetsons, its targets of 87.5 and 88 %."
        )
        yield Table(
            f"target-{number}",
            f"Cost to target: {metric.say(target['target'])}{metric.unit}, {target['rule']}",
            headers,
            rows,
            note,
        )


def budgets(evidence: Evidence) -> Iterable[Table]:
    """Quality under a budget: the score when as much was spent as the cheapest arm spent in all."""
    known = evidence.summary["comparison"]["methods"]
    if not known:
        return
    first, metric = known[0], evidence.metric
    spent = {cost: first[f"score_at_{cost}"]["budget"] for cost in ("seconds", "joules", "bytes")}
    area = first["area"]
    what = "%" if metric.is_share else metric.words
    headers = ("method", f"{what} after {seconds(spent['seconds'])}", f"{what} for {amount(spent['joules'], 'J')}", f"{what} for {amount(spent['bytes'], 'B')}", f"area: mean {what} until {seconds(area['to'])}")  # fmt: skip
    rows = [
        [
            Cell(row["label"], row["label"]),
            *(_score(row[f"score_at_{cost}"]["over_seeds"], metric) for cost in spent),
            _score(row["area"]["over_seeds"], metric),
        ]
        for row in known
    ]
    note = "A budget is what the arm that spent least spent in all its rounds, so that every arm has spent it at some time."
    yield Table("budgets", "Quality under a budget", headers, rows, note)


def faults(evidence: Evidence) -> Iterable[Table]:
    """Robustness: the score against the share of updates that were lost, beside the same method where fewer were."""
    metric, known = evidence.metric, evidence.summary["comparison"]["robustness"]
    if not any(row["lost"] for row in known):
        return
    finals = {row["label"]: row["final_score"] for row in evidence.summary["comparison"]["methods"]}
    rows = []
    for row in known:
        found = row["difference"]
        interval = found and found["low"] is not None
        rows.append(
            [
                Cell(row["label"], row["label"]),
                Cell(str(row["asked"]), row["asked"]),
                Cell(str(row["lost"]), row["lost"]),
                Cell(f"{100 * row['lost_share']:.1f}", row["lost_share"]),
                _score(finals[row["label"]], metric),
                Cell(row["beside"] or NONE),
                Cell(f"{metric.scale * found['mean']:+.4g}" if found else NONE, found["mean"] if found else None),
                Cell(
                    f"{metric.scale * found['low']:+.4g} to {metric.scale * found['high']:+.4g}" if interval else NONE
                ),
            ]
        )
    headers = (
        "method",
        "asked",
        "lost",
        "lost %",
        f"final {'%' if metric.is_share else metric.words}",
        "beside",
        "difference",
        "95 % interval",
    )
    note = "Lost is every update that was asked for and not merged. `fedquad campaign compare CLEAN FAULTY --faults` sets a method beside itself with fewer faults."
    yield Table("faults", "What failures cost", headers, rows, note)


def arms(evidence: Evidence) -> Iterable[Table]:
    """A row an arm: the figures of summary.json."""
    metric = evidence.metric
    rows = [
        [
            Cell(arm["label"], arm["label"]),
            Cell(str(arm["seed"]), arm["seed"]),
            Cell(str(len(arm["rounds"])), len(arm["rounds"])),
            Cell(metric.say(arm["final_score"]), arm["final_score"]),
            Cell(metric.say(arm["best_score"]), arm["best_score"]),
            Cell(seconds(arm["seconds_to_target"]), arm["seconds_to_target"]),
            Cell(str(arm["rounds_to_target"] or NONE), arm["rounds_to_target"]),
            Cell(seconds(arm["mean_wait_seconds"]), arm["mean_wait_seconds"]),
            Cell((arm["state_digest"] or NONE)[:12], arm["state_digest"]),
        ]
        for arm in evidence.summary["arms"]
    ]
    headers = (
        "arm",
        "seed",
        "rounds",
        headed("final", metric),
        headed("best", metric),
        "to target",
        "rounds to target",
        "waiting a round",
        "state digest",
    )
    yield Table("arms", "Arms, one by one", headers, rows, "Times are the fleet's, interpolated between evaluations.")


def failing(evidence: Evidence) -> Iterable[Table]:
    """What went wrong, with its cause: over memory and failures."""
    rows = [
        [Cell(label, label), Cell(cause), Cell(str(count), count), Cell(str(first), first)]
        for label, cause, count, first in series.failures(evidence)
    ]
    yield Table("failures", "Failures and their causes", ("method", "cause", "how often", "first in round"), rows[:200],
                "" if len(rows) <= 200 else f"The first 200 of {len(rows)}.")  # fmt: skip


def rounds(evidence: Evidence) -> Iterable[Table]:
    """Every round of every arm; a file beside the page, too long to be read in it."""
    keys = [
        key
        for key in next((arm["rounds"][0] for arm in evidence.summary["arms"] if arm["rounds"]), {})
        if key != "round"
    ]
    rows = [
        [Cell(arm["label"], arm["label"]), Cell(str(arm["seed"]), arm["seed"]), Cell(str(facts["round"]), facts["round"]),
         *(Cell("" if facts[key] is None else str(facts[key]), facts[key]) for key in keys)]
        for arm in evidence.summary["arms"] for facts in arm["rounds"]
    ]  # fmt: skip
    yield Table("rounds", "Rounds", ("arm", "seed", "round", *keys), rows)


def assignments(evidence: Evidence) -> str:
    """Who was given what in which round, as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    plain = (
        "device",
        "class",
        "board",
        "mode",
        "memory_bytes",
        "peak_bytes",
        "predicted_seconds",
        "seconds",
        "wait_seconds",
        "failure",
    )
    writer.writerow(("arm", "round", "depth", "quantized", *plain))
    for label, facts, row in evidence.assignments():
        writer.writerow(
            (label, facts["round"], len(row["trained"]), len(row["quantized"]), *(row[key] for key in plain))
        )
    return file.getvalue()


def as_csv(table: Table) -> str:
    """The table with its unrounded numbers."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.headers)
    writer.writerows([_plain(cell) for cell in row] for row in table.rows)
    return file.getvalue()


def _plain(cell: Cell) -> str:
    return cell.text if cell.value is None else str(cell.value)


def _sums(evidence: Evidence, label: str) -> tuple[int, int]:
    every = [facts for arm in evidence.arms(label) for facts in arm["rounds"]]
    return sum(facts["memory_violations"] for facts in every), sum(facts["failures"] for facts in every)


def _score(found: Mapping[str, Any] | None, metric: Metric) -> Cell:
    if found is None:
        return Cell(NONE)
    spread = "" if found["deviation"] is None else f" ± {metric.say(found['deviation'])}"
    return Cell(metric.say(found["mean"]) + spread, found["mean"])


def _time(found: Mapping[str, Any] | None) -> Cell:
    return Cell(NONE) if found is None else Cell(seconds(found["mean"]), found["mean"])


def _amount(found: Mapping[str, Any] | None, unit: str) -> Cell:
    return Cell(NONE) if found is None else Cell(amount(found["mean"], unit), found["mean"])
