"""What any two methods have in common: the same work has one price, and the paper's memory is kept too."""

import pytest
from fleet_of_three import statuses
from pretend import COST, fleet, planned

from fedquad import discover
from fedquad.cli import tables
from fedquad.prices.cost import CostModel, estimate
from fedquad.spec import CampaignSpec, CostSpec
from fedquad.spec_text import plain
from fedquad.types import Assignment


def seconds(assigned: Assignment, cost: CostModel = COST) -> float:
    return estimate(assigned, cost, statuses([0])[0]).seconds


def test_methods_that_plan_the_same_work_pay_the_same() -> None:
    full = planned("fedlora", 12)[0]
    same = [
        planned("fedquad", 12)[0],
        planned("fedra", 12)[0],
        planned("inclusivefl", 12)[0],
        planned("layersel:paper", 12)[0],
        planned("hetlora", 12, least=1.0, most=1.0, gamma=1.0)[0],
        planned("legend", 12, spread=0.0)[0],
    ]
    price = estimate(full, COST, statuses([0])[0])
    assert [estimate(a, COST, statuses([0])[0]) for a in same] == [price] * 6


@pytest.mark.parametrize("depth", [1, 5, 11])
def test_hetlora_at_the_campaigns_rank_pays_what_fedlora_pays(depth: int) -> None:
    (ours,) = planned("hetlora", depth, least=1.0, most=1.0)
    (plain,) = planned("fedlora", depth)
    assert seconds(ours) == seconds(plain)


def test_paper_memory_is_kept_by_every_method_too() -> None:
    paper = pricing_as(CostSpec(priced_as="roberta-base", memory="paper"))
    there = fleet(2, 6, 12, cost=paper)
    for method in ("hetlora", "legend", "fedra", "inclusivefl", "layersel:strict"):
        for a in planned(method, 2, 6, 12, cost=paper):
            assert estimate(a, paper, there[a.device]).peak_bytes <= there.memory_bytes[a.device]


def pricing_as(spec: CostSpec) -> CostModel:
    from fedquad.prices.cost import cost_model
    from fedquad.prices.shapes import shape_named
    from fedquad.spec import ModelSpec, TrainingSpec

    return cost_model(shape_named("roberta-base", 12), ModelSpec(), TrainingSpec(), spec, labels=3)


def test_legend_says_what_it_is_wherever_it_is_shown() -> None:
    assert "re-implementation" in discover.remark("legend")
    assert discover.remark("fedquad:literal") == discover.remark("./mine.py") == ""
    arm = {"label": "mine", "method": "legend", "failure": "", "rounds": []}
    figures = dict.fromkeys(("final_accuracy", "best_accuracy", "seconds_to_target", "mean_wait_seconds"))
    summary = {"campaign": "c", "arms": [{**arm, **figures, "seed": 0}], "target_accuracy": None, "speedups": {}}
    shown = tables.campaign_summary(summary, plain(CampaignSpec()), width=100)
    with (console := tables.Console(width=200)).capture() as caught:
        console.print(shown)
    assert "mine: a re-implementation" in caught.get()
