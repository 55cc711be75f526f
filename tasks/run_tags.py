"""What an arm's run in MLflow says of itself: tags to group by, parameters, where it comes from, and the command that repeats it."""

import getpass
from collections.abc import Iterator, Mapping
from typing import Any

from fedquad.objective import Metric
from fedquad.spec import ArmSpec, CampaignSpec
from fedquad.spec_text import plain
from tasks import metrics


def arm_tags(campaign: str, spec: CampaignSpec, label: str, method: str, seed: int) -> dict[str, str]:
    return {
        "campaign": campaign,
        "label": label,
        "method": method,
        "seed": str(seed),
        "model": spec.model.name,
        "dataset": spec.data.name,
        "fleet": ", ".join(f"{count} {board}" for board, count in spec.fleet.boards.items() if count),
        "priced_as": spec.cost.priced_as or spec.model.name,
    }


def params(spec: CampaignSpec, label: str, seed: int) -> dict[str, str]:
    """Every field of the spec by its dotted key; of the arms, this one."""
    document = plain(spec)
    del document["arms"], document["seeds"]
    document |= {"arm": plain(next(arm for arm in spec.arms if arm.name == label)), "seed": seed}
    return {key: "" if value is None else str(value) for key, value in _flat(document)}


def note(campaign: str, spec: CampaignSpec, arm: ArmSpec, seed: int, metric: Metric) -> str:
    """What the arm is, in words."""
    given = ", ".join(f"{key}={value}" for key, value in arm.params.items())
    return (
        f"**{arm.method}**{f' ({given})' if given else ''}, seed {seed}, {spec.rounds} rounds of {spec.fleet.size} devices on "
        f"{spec.data.name} with {spec.model.name}. Seconds are the fleet's: `{metrics.by_second(metric.name)}` is {metric.words} against them.\n\n"
        f"    fedquad campaign run campaigns/{campaign}/spec.yaml --methods {arm.name} --seeds {seed}\n{_in_prefect()}"
    )


def _in_prefect() -> str:
    """A link to the flow run that trains the arm, which works while its server runs."""
    from prefect.runtime import flow_run

    return f"\n[Its run in Prefect]({flow_run.ui_url})\n" if flow_run.id and flow_run.ui_url else ""


def source(description: Mapping[str, Any]) -> dict[str, str]:
    """Who ran what code, under the names that MLflow shows, and the flow run in Prefect where there is one."""
    from prefect.runtime import flow_run

    found = {
        "mlflow.source.name": "fedquad campaign run",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": str(description.get("environment", {}).get("commit", "")),
        "mlflow.user": getpass.getuser(),
        "prefect_flow_run": str(flow_run.id or ""),
        "prefect_url": str(flow_run.ui_url or "") if flow_run.id else "",
    }
    return {key: value for key, value in found.items() if value}


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item
