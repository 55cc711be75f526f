"""Every way in which an answer can be wrong has its reason."""

from dataclasses import replace

import numpy as np
import pytest
from fleet_of_three import adapter, answer, assignment

from fedquad.rounds import adapters
from fedquad.rounds.refuse import refusal
from fedquad.types import Adapter, Lora, Update

START = adapter()
ASKED = assignment(4, (1,))
GOOD = answer(ASKED, START, 1.0)
SENT = adapters.digest(START)


def with_pair(a: np.ndarray, b: np.ndarray) -> Update:  # type: ignore[type-arg]
    return replace(GOOD, delta=Adapter(layers={1: {"q": Lora(a, b)}}, head=GOOD.delta.head))


F = np.float32
A, B = np.zeros((2, 3), F), np.zeros((3, 2), F)
WRONG = {
    "device 9 answered": replace(GOOD, device=9),
    "round 7": replace(GOOD, round=7),
    "is based on adapter 'ffff": replace(GOOD, based_on="f" * 64),
    r"extra \[0\], missing \[\]": replace(
        GOOD, delta=Adapter(layers={**GOOD.delta.layers, 0: GOOD.delta.layers[1]}, head=GOOD.delta.head)
    ),
    r"missing \[1\]": replace(GOOD, delta=Adapter(layers={}, head=GOOD.delta.head)),
    r"LoRA on \['k'\]": replace(GOOD, delta=Adapter(layers={1: {"k": Lora(A, B)}}, head=GOOD.delta.head)),
    "rank 1, but its configuration says 2 to 2": with_pair(A[:1], B[:, :1]),
    r"A has shape \(2, 4\)": with_pair(np.zeros((2, 4), F), B),
    r"B has shape \(2, 2\)": with_pair(A, np.zeros((2, 2), F)),
    "rank -1": with_pair(np.zeros(3, F), B),
    "float64, not float32": with_pair(A.astype(np.float64), B),
    "A holds NaN": with_pair(np.full((2, 3), np.nan, F), B),
    "B holds NaN or Inf": with_pair(A, np.full((3, 2), np.inf, F)),
    r"its head has \[\]": replace(GOOD, delta=Adapter(layers=GOOD.delta.layers, head={})),
    r"head classifier.weight has shape \(1,\)": replace(
        GOOD, delta=Adapter(layers=GOOD.delta.layers, head={"classifier.weight": np.zeros(1, F)})
    ),
}


def test_a_right_answer_is_not_refused() -> None:
    assert refusal(GOOD, ASKED, 1, SENT, START) == ""


@pytest.mark.parametrize("reason", WRONG)
def test_a_wrong_answer_is_refused_with_its_reason(reason: str) -> None:
    import re

    assert re.search(reason, refusal(WRONG[reason], ASKED, 1, SENT, START))


def test_a_device_may_prune_itself_down_to_its_least_rank() -> None:
    asked = replace(ASKED, least_ranks=(1, 1))
    assert refusal(with_pair(A[:1], B[:, :1]), asked, 1, SENT, START) == ""
