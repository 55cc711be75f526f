"""What a campaign came to, where Prefect's pages show it: the table as a markdown artifact, and a link to MLflow.

Their keys are the same for every campaign, so that the artifact's page is the history of campaigns.
"""

from collections.abc import Mapping
from typing import Any

from prefect.artifacts import acreate_link_artifact, acreate_markdown_artifact

from fedquad.objective import Metric, metric_of
from flows.events import SILENT

RESULT_KEY, LINK_KEY = "campaign-result", "campaign-mlflow"
COLUMNS = ("arm", "seed", "rounds", "best", "final", "to target", "waiting a round", "")


async def show(summary: Mapping[str, Any], page: str | None) -> None:
    """Make both; a temporary server, which nobody can look at, is spared."""
    if SILENT.get():
        return
    name = summary["campaign"]
    await acreate_markdown_artifact(markdown=table(summary), key=RESULT_KEY, description=f"Result of campaign {name}.")
    if page:
        await acreate_link_artifact(
            link=page,
            link_text=f"{name} in MLflow",
            key=LINK_KEY,
            description=f"Curves and adapters of campaign {name}.",
        )


def table(summary: Mapping[str, Any]) -> str:
    """The campaign's arms as a table, best first, and what the comparison says."""
    metric, target = metric_of(summary), summary.get("target")
    scored = [arm for arm in summary["arms"] if arm["best_score"] is not None]
    arms = sorted(scored, key=lambda arm: -metric.sign * arm["best_score"])
    arms += [arm for arm in summary["arms"] if arm["best_score"] is None]
    head = [f"# {_plain(summary['campaign'])}", ""]
    head += (
        [f"Target: {metric.say(target)}{metric.unit}. Seconds are the fleet's.", ""]
        if target
        else ["Seconds are the fleet's.", ""]
    )
    rows = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}", *(_row(arm, metric) for arm in arms)]
    said = [f"- {_plain(line)}" for line in (summary.get("comparison") or {}).get("said", ())]
    return "\n".join([*head, *rows, *(["", *said] if said else []), ""])


def _row(arm: Mapping[str, Any], metric: Metric) -> str:
    cells = (
        _plain(arm["label"]),
        arm["seed"],
        len(arm["rounds"]),
        _score(arm["best_score"], metric),
        _score(arm["final_score"], metric),
        _seconds(arm["seconds_to_target"]),
        _seconds(arm["mean_wait_seconds"]),
        _plain(arm.get("failure") or ""),
    )
    return f"| {' | '.join(map(str, cells))} |"


def _score(value: float | None, metric: Metric) -> str:
    return "" if value is None else f"{metric.say(value)}{metric.unit}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f} s"


def _plain(text: str) -> str:
    """Text that Markdown takes for nothing else."""
    cut = " ".join(str(text).split())[:200]
    return "".join(f"\\{letter}" if letter in "\\|<>*`[]#" else letter for letter in cut)
