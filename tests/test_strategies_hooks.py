"""What any two methods have in common: the same work has one price, and the paper's memory is kept too."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
from fleet_of_three import statuses
from pretend import COST, METHODS, begin, everyone, fleet, plan, planned

from fedquad import discover
from fedquad.cli import tables
from fedquad.discover import strategy
from fedquad.errors import SpecError
from fedquad.prices.cost import CostModel, estimate
from fedquad.spec import CampaignSpec, CostSpec, TrainingSpec
from fedquad.spec_text import plain
from fedquad.strategies import fedquad, fedquad_wo_qd, fedra, hetlora, inclusivefl, layersel
from fedquad.strategies.fedlora import top_layers
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
    figures = dict.fromkeys(("final_score", "best_score", "seconds_to_target", "mean_wait_seconds"))
    summary = {
        "campaign": "c",
        "arms": [{**arm, **figures, "seed": 0}],
        "target": None,
        "comparison": {"said": []},
    }
    shown = tables.campaign_summary(summary, plain(CampaignSpec()), width=100)
    with (console := tables.Console(width=200)).capture() as caught:
        console.print(shown)
    assert "mine: a re-implementation" in caught.get()


@pytest.mark.parametrize("name", METHODS)
def test_every_methods_rate_is_the_rounds(name: str) -> None:
    made, known = (
        strategy(name),
        everyone(4, training=TrainingSpec(steps=3, schedule="cosine", update_bound=0), rounds=10),
    )
    state = replace(begin(made, known), round=5)
    assigned = plan(made, state, fleet(12, 10, 8, 6), known).assignments
    assert assigned
    assert {one.learning_rate for one in assigned} == {known.learning_rate(6)}
    assert known.learning_rate(6) != known.learning_rate(5)


def test_who_adapts_depth_says_so() -> None:
    said = {name: strategy(name).adapts_depth for name in METHODS}
    adapting = {name for name, does in said.items() if does}
    assert {name.partition(":")[0] for name in adapting} == {"fedquad", "fedquad_wo_qd", "legend"}


def test_the_ablations_defaults_are_fedquads() -> None:
    whole = inspect.signature(fedquad.strategy).parameters
    for name, parameter in inspect.signature(fedquad_wo_qd.strategy).parameters.items():
        assert parameter.default == whole[name].default


def test_legends_greatest_rank_is_its_top_layers() -> None:
    assert strategy("legend").greatest_rank(8) == 12
    assert strategy("hetlora").greatest_rank(8) == 16


def test_layersel_never_takes_what_is_no_candidate() -> None:
    gains = np.array([-np.inf, 2.0, -np.inf, 1.0])
    assert layersel._best(gains, 3).tolist() == [False, True, False, True]
    scores = np.array([[-np.inf, 1.0, 2.0], [3.0, 1.0, 0.5]])
    masks = layersel.select(scores, np.array([2, 2]), balance=10.0)
    assert masks.tolist() == [[False, True, True], [False, True, True]]
    zeros = replace(fleet(12, 12), signals={layersel.SIGNAL: np.zeros((2, 3))})
    assert layersel.probed(zeros, np.array([0, 1]), None, 3).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_an_unknown_conversion_is_refused() -> None:
    for name in ("inclusivefl", "fedra"):
        with pytest.raises(SpecError, match="conversion"):
            strategy(name, {"conversion": "by luck"})


def test_a_device_that_holds_no_layer_is_given_none() -> None:
    cost = everyone(1).cost
    assert fedra.sizes_that_fit("memory", cost, np.array([0, cost.fixed_bytes + 1])).tolist() == [0, 0]


def test_the_window_of_a_size_begins_at_the_next_smaller_ones_last_layer() -> None:
    assert inclusivefl.window((4, 8, 12), 12) == range(7, 12)
    assert inclusivefl.window((4, 8, 12), 4) == range(3, 4)


def test_a_rank_that_does_not_fit_is_one() -> None:
    known = everyone(1)
    whole = top_layers(known, 0, 12, 1)
    assert hetlora._rank_that_fits(known, whole, 8, 0) == 1
