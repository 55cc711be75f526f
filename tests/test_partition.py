"""Every split deals each example at most once, evenly where it says so, by the seed alone, or is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedquad import rng
from fedquad.errors import SpecError
from fedquad.fleets.partition import partition

KINDS = ("class_mix", "dirichlet", "iid", "column")


def some_labels(size, classes, seed=0):
    return rng.stream(seed, "labels").integers(0, classes, size)


def deal(labels, devices, kind="class_mix", alpha=10.0, seed=0, batch=1, columns=None):
    return partition(labels, devices, kind=kind, alpha=alpha, seed=seed, batch=batch, columns=columns)


def is_rightly_refused(kind, size, devices, alpha, columns):
    """Whether some device has to go without an example, or, by an uneven draw, may."""
    if size < devices:
        return True
    if kind == "column":
        return len(np.unique(columns)) < devices
    return kind == "dirichlet" and (alpha < 1 or size < 20 * devices)


@settings(max_examples=200)
@given(
    kind=st.sampled_from(KINDS),
    size=st.integers(1, 400),
    classes=st.integers(1, 5),
    devices=st.integers(1, 12),
    alpha=st.sampled_from([0.01, 0.5, 10.0, 1000.0]),
    seed=st.integers(0, 5),
)
def test_no_example_is_dealt_twice_and_sizes_are_as_promised(kind, size, classes, devices, alpha, seed):
    labels = some_labels(size, classes, seed)
    columns = rng.stream(seed, "users").integers(0, 3 * devices, size)
    try:
        parts = deal(labels, devices, kind, alpha, seed, columns=columns)
    except SpecError:
        assert is_rightly_refused(kind, size, devices, alpha, columns)
        return
    dealt = np.concatenate(parts)
    assert len(parts) == devices
    assert len(np.unique(dealt)) == len(dealt)
    assert all((np.diff(part) > 0).all() and part.dtype == np.int64 for part in parts)
    if kind in ("class_mix", "iid"):
        assert {len(part) for part in parts} == {size // devices}
    else:
        assert len(dealt) == size
    if kind == "column":
        owners = [set(columns[part]) for part in parts]
        assert sum(len(users) for users in owners) == len(set().union(*owners))


@pytest.mark.parametrize("kind", KINDS)
def test_a_split_depends_on_its_seed_alone(kind):
    labels, users = some_labels(300, 3), np.arange(300) // 7
    first, again, other = (deal(labels, 5, kind, seed=seed, columns=users) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(first, again))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(first, other))


def skew(parts, labels):
    """Mean over devices of the largest class's share."""
    return np.mean([np.bincount(labels[part]).max() / len(part) for part in parts])


@pytest.mark.parametrize("kind", ["class_mix", "dirichlet"])
def test_a_small_alpha_skews_the_classes_and_a_large_one_does_not(kind):
    labels = some_labels(3000, 3)
    assert skew(deal(labels, 10, kind, alpha=0.1), labels) > 0.65
    assert skew(deal(labels, 10, kind, alpha=1000.0), labels) < 0.42
    assert skew(deal(labels, 10, "iid"), labels) < 0.45


def test_a_class_that_most_lack_is_still_dealt_out():
    labels = np.array([0] * 95 + [1] * 5)
    parts = deal(labels, 10, alpha=0.01)
    assert sorted(np.concatenate(parts)) == list(range(100))


def test_the_largest_groups_go_to_the_emptiest_devices():
    users = np.repeat([0, 1, 2, 3], [50, 30, 20, 10])
    assert sorted(len(part) for part in deal(np.zeros(110, np.int64), 2, "column", columns=users)) == [50, 60]


def test_a_device_with_less_than_a_batch_is_refused_with_what_to_do():
    with pytest.raises(SpecError, match=r"10 training examples over 3 devices.*data\.train to at least 12"):
        deal(some_labels(10, 2), 3, batch=4)
    with pytest.raises(SpecError, match=r"partition dirichlet leaves device \d+ with \d examples"):
        deal(some_labels(40, 2), 10, "dirichlet", alpha=0.01, batch=4)
    with pytest.raises(SpecError, match="partition column leaves device"):
        deal(some_labels(20, 2), 2, "column", batch=8, columns=np.array([0] * 15 + [1] * 5))


def test_a_natural_split_needs_its_column_and_enough_groups():
    with pytest.raises(SpecError, match="come without that column"):
        deal(some_labels(20, 2), 2, "column")
    with pytest.raises(SpecError, match="2 values, too few for 3 devices"):
        deal(some_labels(20, 2), 3, "column", columns=np.arange(20) % 2)


def test_an_unknown_kind_is_refused():
    with pytest.raises(SpecError, match="class_mix, dirichlet, iid, column"):
        deal(some_labels(20, 2), 2, "shards")
