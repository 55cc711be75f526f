import numpy as np
import pytest
from fleet_of_three import adapter, assignment, layout
from hypothesis import given
from hypothesis import strategies as st

from fedquad.rounds import adapters


def test_a_lower_rank_is_the_first_rows_of_the_master() -> None:
    wide, narrow = adapters.initial(layout(), 8, seed=3), adapters.initial(layout(), 4, seed=3)
    cut = adapters.cut(wide, wide.layers, [4, 4])
    assert adapters.digest(cut) == adapters.digest(narrow)


def test_seeds_layers_and_targets_start_differently() -> None:
    first, second = adapters.initial(layout(), 2, seed=0), adapters.initial(layout(), 2, seed=1)
    matrices = [pair.a.tobytes() for a in (first, second) for pairs in a.layers.values() for pair in pairs.values()]
    assert len(set(matrices)) == len(matrices)
    assert all((pair.b == 0).all() for pairs in first.layers.values() for pair in pairs.values())


def test_an_adapter_cannot_be_written_to() -> None:
    made = adapters.initial(layout(), 2, seed=0)
    with pytest.raises(ValueError, match="read-only"):
        made.layers[0]["attention.self.query"].a[0, 0] = 1


@given(layers=st.integers(0, 4), rank=st.integers(1, 5), fill=st.floats(-1e6, 1e6, width=32))
def test_unflatten_is_the_inverse_of_flatten(layers: int, rank: int, fill: float) -> None:
    made = adapter(layers=layers, rank=rank, fill=fill)
    assert adapters.digest(adapters.unflatten(adapters.flatten(made))) == adapters.digest(made)


def test_the_digest_sees_values_shapes_and_names() -> None:
    tensors = {"x": np.zeros(4, np.float32)}
    others = [
        {"y": tensors["x"]},
        {"x": np.zeros((2, 2), np.float32)},
        {"x": np.zeros(4, np.float64)},
        {"x": np.ones(4, np.float32)},
    ]
    assert len({adapters.tensors_digest(t) for t in [tensors, *others]}) == 5


@pytest.mark.parametrize("name", ["layers.x.q.a", "layers.0.q.c", "head.", "other.0.q.a", "layers.0.a"])
def test_a_name_that_no_adapter_has_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        adapters.unflatten({name: np.zeros((1, 1), np.float32)})


def test_half_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="a LoRA pair has two"):
        adapters.unflatten({"layers.0.q.a": np.zeros((1, 1), np.float32)})


def test_an_assignment_gets_its_layers_at_its_ranks() -> None:
    sent = adapters.for_assignment(adapter(layers=3, rank=4), assignment(0, trained=(2,), present=(0, 2), ranks=(1, 3)))
    assert adapters.ranks(sent) == {0: 1, 2: 3}
