"""What happens in a campaign, as lines of its run's log in Prefect: where a worker runs it, no terminal shows them."""

import logging
from typing import Any

from fedquad.report.words import seconds
from tasks.progress import Listener
from tasks.session import CURRENT, Session


def into(logger: "logging.Logger | logging.LoggerAdapter[Any]") -> Listener:
    """A listener that writes a line for a round and for whatever else is worth one."""

    def hear(event: str, facts: dict[str, Any]) -> None:
        if event == "notice":
            logger.warning("%s", facts["message"])
        elif event == "arm-failed":
            logger.error("%s s%s failed: %s", facts["label"], facts["seed"], facts["reason"])
        elif event == "arm-finished":
            logger.info("%s s%s is finished", facts["label"], facts["seed"])
        elif event == "loading":
            logger.info("loading %s", facts["what"])
        elif event == "round":
            logger.info("%s", round_line(facts, CURRENT.get()))

    return hear


def round_line(facts: dict[str, Any], session: Session) -> str:
    metric = session.metric
    failed = f", {facts['failures']} without an update" if facts["failures"] else ""
    return (
        f"{facts['label']} s{facts['seed']} round {facts['round']}/{session.spec.rounds}: "
        f"{metric.words} {metric.say(facts['score'])}{metric.unit}, {facts['participants']} devices{failed}, "
        f"{seconds(facts['round_seconds'])}, fleet time {seconds(facts['elapsed_seconds'])}"
    )
