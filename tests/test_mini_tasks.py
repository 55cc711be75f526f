"""The four embedded tasks: their contract, their balance, and that no short cut solves them."""

from collections import Counter
from importlib import import_module

import numpy as np
import pytest

from fedquad.learn.mini.vocabulary import words
from fedquad.learn.tables import Request, Split, Table, TextTask

TASKS: dict[str, TextTask] = {
    name: import_module(f"fedquad.learn.datasets.{name}").TASK
    for name in ("mini_nli", "mini_qqp", "mini_qnli", "mini_sst2")
}
PAIRS = ("mini_nli", "mini_qqp", "mini_qnli")
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
LARGEST_GAIN = 0.08  # of a linear model over chance


def pairs(table: Table) -> list[tuple[str, ...]]:
    return list(zip(*table.columns.values()))


@pytest.fixture(scope="module")
def loaded() -> dict[str, tuple[Table, Table]]:
    """Training and test rows, once for every test that reads many."""
    return {
        name: (task.load(Request(split="train", size=6_000)), task.load(Request(split="test", size=2_000)))
        for name, task in TASKS.items()
    }


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_the_columns_and_labels_it_promises(name: str) -> None:
    task = TASKS[name]
    table = task.load(Request(split="validation", size=30))
    assert task.name == name.replace("_", "-")
    assert tuple(table.columns) == task.columns
    assert len(table) == 30 == len(pairs(table))
    assert set(table.labels) == set(range(len(task.labels)))


@pytest.mark.parametrize("name", TASKS)
def test_rows_follow_from_the_seed_alone(name: str) -> None:
    load = TASKS[name].load
    assert load(Request(split="train", size=50, seed=3)) == load(Request(split="train", size=50, seed=3))
    assert load(Request(split="train", size=50, seed=3)) != load(Request(split="train", size=50, seed=4))


@pytest.mark.parametrize("name", TASKS)
def test_a_smaller_table_is_the_beginning_of_a_larger_one(name: str) -> None:
    load = TASKS[name].load
    assert pairs(load(Request(split="train", size=90)))[:60] == pairs(load(Request(split="train", size=60)))


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("size", [0, 1, 7])
def test_any_size_can_be_had(name: str, size: int) -> None:
    assert len(TASKS[name].load(Request(split="test", size=size))) == size


@pytest.mark.parametrize("name", TASKS)
def test_labels_are_balanced(name: str, loaded: dict[str, tuple[Table, Table]]) -> None:
    for table in loaded[name]:
        counts = Counter(table.labels)
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("name", TASKS)
def test_splits_share_no_pair_even_turned_round_or_under_another_seed(name: str) -> None:
    keys = [
        {
            tuple(sorted(row))
            for seed in (0, 1)
            for row in pairs(TASKS[name].load(Request(split=split, size=1_500, seed=seed)))
        }
        for split in SPLITS
    ]
    assert not keys[0] & keys[1]
    assert not keys[0] & keys[2]
    assert not keys[1] & keys[2]


@pytest.mark.parametrize("name", TASKS)
def test_no_row_comes_twice(name: str, loaded: dict[str, tuple[Table, Table]]) -> None:
    rows = pairs(loaded[name][0])
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("sides", [(0,), (1,), (0, 1)], ids=["first", "second", "both"])
def test_a_bag_of_words_tells_next_to_nothing(
    name: str, sides: tuple[int, ...], loaded: dict[str, tuple[Table, Table]]
) -> None:
    train, test = loaded[name]
    features, held_out = bags(train, test, sides)
    labels = len(TASKS[name].labels)
    guesses = held_out @ fit(features, np.array(train.labels), labels)
    accuracy = float(np.mean(guesses.argmax(axis=1) == np.array(test.labels)))
    assert accuracy <= 1 / labels + LARGEST_GAIN


def test_the_linear_model_would_see_a_short_cut() -> None:
    """The judge of short cuts is itself judged: a word that gives the label away is found."""
    rows = tuple(f"the {'cat' if index % 2 else 'dog'} was number {index % 7}." for index in range(400))
    table = Table(columns={"sentence": rows}, labels=tuple(index % 2 for index in range(400)))
    features, held_out = bags(table, table, (0,))
    assert (
        np.mean((held_out @ fit(features, np.array(table.labels), 2)).argmax(axis=1) == np.array(table.labels)) == 1.0
    )


def bags(train: Table, test: Table, sides: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Which words each side has, the sides apart, and a constant."""
    texts = [[words(text) for text in list(table.columns.values())[side]] for table in (train, test) for side in sides]
    index = {
        word: number for number, word in enumerate(sorted({word for side in texts for row in side for word in row}))
    }

    def encode(sides_of_table: list[list[list[str]]]) -> np.ndarray:
        rows = len(sides_of_table[0])
        array = np.zeros((rows, len(index) * len(sides_of_table) + 1), np.float32)
        array[:, -1] = 1
        for offset, side in enumerate(sides_of_table):
            for row, found in enumerate(side):
                array[row, [offset * len(index) + index[word] for word in found]] = 1
        return array

    return encode(texts[: len(sides)]), encode(texts[len(sides) :])


def fit(features: np.ndarray, labels: np.ndarray, classes: int, decay: float = 1e-3, steps: int = 300) -> np.ndarray:
    """Multinomial logistic regression by plain gradient descent."""
    weights = np.zeros((features.shape[1], classes), np.float32)
    wanted = np.eye(classes, dtype=np.float32)[labels]
    rate = 4.0 * len(features) / np.square(features).sum(axis=1).mean() / len(features)
    for _ in range(steps):
        scores = features @ weights
        likely = np.exp(scores - scores.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        weights -= rate * (features.T @ (likely - wanted) / len(features) + decay * weights)
    return weights
