from pathlib import Path

import pytest

from fedquad import discover
from fedquad.errors import MethodError, SpecError, UnknownNameError
from fedquad.rounds.strategy import Strategy


@pytest.mark.parametrize("name", discover.strategies())
def test_every_strategy_and_variant_can_be_made(name: str) -> None:
    assert isinstance(discover.strategy(name), Strategy)
    for variant in discover.variants(name):
        assert isinstance(discover.strategy(f"{name}:{variant}"), Strategy)


def test_unknown_names_are_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match=r"no method 'fedavg'; there are: .*fedlora"):
        discover.strategy("fedavg")
    with pytest.raises(UnknownNameError, match=r"no variant of fedlora 'deep'; there are: depth, exclusive, oracle"):
        discover.strategy("fedlora:deep")
    with pytest.raises(SpecError, match="fedlora' has no parameter 'mu'"):
        discover.strategy("fedlora", {"mu": 1})


def test_a_method_can_be_a_file_of_ones_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from fedquad.strategies.fedlora import strategy as base\nVARIANTS = ('a', 'b')\ndef strategy(variant='a', mu=0.0): return base()\n"
    )
    assert isinstance(discover.strategy(f"{mine}:b", {"mu": 0.5}), Strategy)
    with pytest.raises(UnknownNameError, match="there are: a, b"):
        discover.strategy(f"{mine}:c")
    with pytest.raises(UnknownNameError, match="there is no file"):
        discover.strategy(str(tmp_path / "gone.py"))


def test_a_file_that_makes_no_strategy_is_told_so(tmp_path: Path) -> None:
    empty, wrong = tmp_path / "empty.py", tmp_path / "wrong.py"
    empty.write_text("")
    wrong.write_text("def strategy(): return 1\n")
    with pytest.raises(MethodError, match="defines no function"):
        discover.strategy(str(empty))
    with pytest.raises(MethodError, match="returned int"):
        discover.strategy(str(wrong))


@pytest.mark.parametrize("name", discover.presets())
def test_every_preset_says_in_one_line_what_it_is_for(name: str) -> None:
    assert 20 < len(discover.preset_line(name)) < 120


def test_a_preset_answers_to_all_its_names_and_no_two_share_one() -> None:
    others = [other for name in discover.presets() for other in discover.other_names(name)]
    assert len({*others, *discover.presets()}) == len(others) + len(discover.presets())
    assert discover.preset_name("mini-fig9a") == discover.preset_name("mini-table-3") == "mini-table-3"
    assert discover.preset("paper-table-4") == discover.preset("paper-fig7a")
    assert discover.preset_name("no-such") == "no-such"


def test_every_figure_and_table_of_the_paper_that_is_a_campaign_has_one_in_small() -> None:
    named = {n for name in discover.presets() for n in (name, *discover.other_names(name))}
    paper = {name.removeprefix("paper-") for name in named if name.startswith("paper-")}
    assert {"fig2", "fig3", "fig4a", "fig4b", "fig7a", "fig8d", "fig9c", "fig10b", "table-3", "table-4"} <= paper
    assert paper == {name.removeprefix("mini-") for name in named if name.startswith(("mini-fig", "mini-table"))}


def test_boards_are_found_by_module_name() -> None:
    assert {"jetson-tx2", "jetson-xavier-nx", "jetson-agx-xavier"} <= set(discover.boards())
