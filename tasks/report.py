"""Write the report of a campaign, or of several side by side, from what their folders hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedquad.errors import SpecError
from fedquad.objective import metric_of
from fedquad.report import page
from fedquad.report.evidence import Evidence
from fedquad.rounds import comparison
from fedquad.spec_text import differences
from fedquad.store.campaign import CampaignFolder
from fedquad.store.campaign import goal as goal_of

FAULTS = ("availability", "dropout", "suspend_rounds")  # settings of a fleet


def write(folder: CampaignFolder, last: int = 1) -> Path:
    """Write report/index.html of a campaign; returns its path."""
    return page.write(folder.path / "report", of_one(folder, last))


def of_one(folder: CampaignFolder, last: int = 1) -> Evidence:
    """A campaign's evidence, scores averaged over the last so many evaluations."""
    spec, facts = folder.stored_spec(), folder.facts()
    found = folder.summarise(facts)
    if last > 1:
        comparison.refuse_unlike(found["arms"])
        found["comparison"] = comparison.compare(found["arms"], goal_of(spec), last, metric_of(found))
    return Evidence(
        title=folder.name, summary=found, specs={folder.name: spec}, facts=facts, state=folder.status(found), last=last
    )


def of_several(
    folders: Sequence[CampaignFolder], target: float | None = None, last: int = 1, is_of_faults: bool = False
) -> Evidence:
    """Several campaigns' arms as those of one, each label behind its campaign's name; refused where they were not given the same.

    Of faults: their fleets may differ in how often devices fail, and in nothing else.
    """
    if len({folder.name for folder in folders}) != len(folders) or len(folders) < 2:
        raise SpecError(f"two campaigns or more are compared, each once; given: {', '.join(f.name for f in folders)}")
    each = {folder.name: of_one(folder) for folder in folders}
    arms = [{**arm, "label": f"{name}/{arm['label']}"} for name, one in each.items() for arm in one.summary["arms"]]
    if is_of_faults:
        _refuse_other_fleets([one.specs[name]["fleet"] for name, one in each.items()])
        arms = [{**arm, "digests": {**arm["digests"], "trace": ""}} for arm in arms]
    comparison.refuse_unlike(arms)
    metric = metric_of(next(iter(each.values())).summary)
    if any(metric_of(one.summary) != metric for one in each.values()):
        raise SpecError(
            f"campaigns are compared by one metric; these are judged by {', '.join(metric_of(one.summary).name for one in each.values())}"
        )
    found = comparison.compare(arms, target, last, metric)
    goal = found["targets"][0]["target"] if found["targets"] else target
    first = next(iter(each.values())).summary
    summary = {
        "schema": first["schema"], "campaigns": list(each), "metric": metric.to_json(), "target": goal, "arms": comparison.at_target(arms, goal, last, metric), "comparison": found,
        "environment": first["environment"],
    }  # fmt: skip
    return Evidence(
        title=" and ".join(each),
        summary=summary,
        specs={name: one.specs[name] for name, one in each.items()},
        facts={
            (f"{name}/{label}", seed): rounds
            for name, one in each.items()
            for (label, seed), rounds in one.facts.items()
        },
        state=", ".join(f"{name} {one.state}" for name, one in each.items()),
        last=last,
    )


def _refuse_other_fleets(fleets: Sequence[Mapping[str, Any]]) -> None:
    """Refuse fleets that differ in anything but their faults: their devices and what these can do are then the same."""
    bare = [{key: value for key, value in fleet.items() if key not in FAULTS} for fleet in fleets]
    for other in bare[1:]:
        if changed := differences(bare[0], other):
            raise SpecError(
                f"these fleets differ in more than their faults ({', '.join(FAULTS)}): {'; '.join(changed[:4])}"
            )
