"""The guide to adding a method is short, and its example is a method."""

from pathlib import Path

from pretend import LAYERS, begin, everyone, fleet, run

from fedquad import discover

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLE = str(DOCS / "examples" / "my_method.py")


def test_the_guide_is_short_and_names_its_example() -> None:
    text = (DOCS / "add-a-method.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert "docs/examples/my_method.py" in text


def test_the_example_sweeps_over_the_layers_that_fit() -> None:
    made, known = discover.strategy(EXAMPLE), everyone(2)
    state, seen = begin(made, known), []
    for _ in range(3):
        planned, _, outcome = run(made, state, fleet(4, 12), known)
        seen.append([a.trained for a in planned.assignments])
        assert planned.refused == {}
        assert outcome.failures == {}
        state = outcome.state
    assert seen == [[(10, 11), (10, 11)], [(8, 9), (8, 9)], [(10, 11), (6, 7)]]
    assert state.round == 3


def test_its_variant_and_its_parameter_are_found() -> None:
    made, known = discover.strategy(f"{EXAMPLE}:up", {"width": 3}), everyone(1)
    planned, _, _ = run(made, begin(made, known), fleet(LAYERS), known)
    assert planned.assignments[0].trained == (0, 1, 2)
