"""What a campaign takes on a machine of a known speed, and the instrument that looks at layers."""

from dataclasses import replace

import pytest
from pretend import LAYERS, begin, everyone, fleet, plan

from fedquad.cli import duration as said
from fedquad.cli.plan import cost_of
from fedquad.discover import strategy
from fedquad.errors import SpecError
from fedquad.planning import duration
from fedquad.spec import CampaignSpec
from flows import edge


def test_twice_the_rounds_or_seeds_take_twice_as_long_and_rounds_done_take_nothing() -> None:
    spec = edge.campaign_spec("mini-table-4")
    cost = cost_of(spec)
    one = duration.seconds(spec, cost, 1e10)
    assert one
    for more in (replace(spec, rounds=24), replace(spec, seeds=(0, 1))):
        factor = more.rounds * len(more.seeds) / (spec.rounds * len(spec.seeds))
        assert duration.seconds(more, cost, 1e10) == pytest.approx(factor * one)
    half = len(spec.arms) * spec.rounds // 2
    assert duration.seconds(spec, cost, 1e10, done=half) == pytest.approx(one / 2)
    assert duration.seconds(spec, cost, 2e10) == pytest.approx(one / 2)


def test_a_data_set_that_only_its_files_tell_the_size_of_has_no_expected_time() -> None:
    spec = edge.campaign_spec("quickstart", settings=["data.name=mine", "data.train="])
    assert duration.seconds(spec, cost_of(edge.campaign_spec("quickstart")), 1e10) is None


def test_a_model_that_is_not_here_has_no_expected_time() -> None:
    spec = edge.campaign_spec("quickstart", settings=["model.name=./nowhere"])
    assert said.expected(spec, {"*": {"flops_per_second": 1e10, "source": "x"}}) is None
    assert said.expected(CampaignSpec(), {}) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.2, "4 s"), (99, "99 s"), (100, "2 min"), (6100, "2 h"), (300_000, "3 days")]
)
def test_times_are_said_in_one_unit(seconds: float, words: str) -> None:
    assert said.words({"seconds": seconds, "source": ""}) == words


def test_fixed_trains_and_quantizes_the_layers_it_is_told() -> None:
    known = everyone(2)

    def layers(**params: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        made = strategy("fixed", params)
        first, second = plan(made, begin(made, known), fleet(2, 12), known).assignments
        assert (first.trained, first.quantized) == (second.trained, second.quantized)
        assert first.present == tuple(range(LAYERS))
        return first.trained, first.quantized

    every = tuple(range(LAYERS))
    assert layers() == (every, ())
    assert layers(depth=4, below=4) == (every[-8:-4], ())
    assert layers(depth=5, quantized=2) == (every[-5:], every[-5:-3])
    with pytest.raises(SpecError, match="more than a model of"):
        layers(depth=LAYERS + 1)
    with pytest.raises(SpecError, match="not negative"):
        strategy("fixed", {"depth": 2, "quantized": 3})
