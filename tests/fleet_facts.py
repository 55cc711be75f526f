"""Reads nothing but a campaign's facts, and says what in them must not be: an update merged twice, one after its deadline, one from a
run that was cancelled or crashed, a lost device without a cause.
"""

from collections.abc import Iterable, Mapping
from typing import Any

SLACK_SECONDS = 3.0  # a run is looked at once a second


def faults(rounds: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong, a line each."""
    found, answers, runs = [], {}, {}
    for facts in rounds:
        for row in facts["assignments"]:
            run, where = row["run"], f"round {facts['round']}, device {row['device']}"
            if not row["failure"]:
                found += [f"{where}: merged, but {what}" for what in _wrong(run)]
                for known, key in ((answers, run.get("answer")), (runs, run["run"])):
                    if key in known:
                        found.append(f"{where}: merged again what was merged in {known[key]}")
                    known[key] = where
            elif not row["failure"].strip():
                found.append(f"{where}: lost without a cause")
    return found


def _wrong(run: Mapping[str, Any]) -> Iterable[str]:
    if run["state"] != "Completed":
        yield f"its run is {run['state']}"
    if not run.get("answer"):
        yield "it has no answer"
    if run["ended"] is None or run["ended"] > run["deadline"] + SLACK_SECONDS:  # when it was seen is Prefect's affair
        yield "its run ended after its deadline, or never"
