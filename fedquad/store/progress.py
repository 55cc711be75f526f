"""How far an arm is: what its committed rounds amount to, kept up round by round, so that nobody reads the history twice."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Progress:
    """The sum of the rounds until now."""

    head: str = ""  # digest of the last round's manifest; before the first, of what the arm is computed from
    last_round: int = 0
    last_accuracy: float = math.nan
    last_digest: str = ""  # of the last round's state
    best_round: int = 0  # by validation accuracy, the first of equals
    best_digest: str = ""
    best_validation: float = -math.inf
    best_accuracy: float = -math.inf  # on the test split, of any round

    def add(self, facts: Mapping[str, Any], head: str = "") -> None:
        """Take one round in."""
        self.head = head
        self.last_round, self.last_accuracy, self.last_digest = facts["round"], facts["accuracy"], facts["state_digest"]
        self.best_accuracy = max(self.best_accuracy, facts["accuracy"])
        if facts["validation_accuracy"] > self.best_validation:
            self.best_round, self.best_digest = facts["round"], facts["state_digest"]
            self.best_validation = facts["validation_accuracy"]


def is_finished(progress: Progress, rounds: int, stop: str, target: float | None, until: int | None = None) -> bool:
    """Whether an arm that is so far has nothing left to do."""
    if progress.last_round >= min(rounds, until or rounds):
        return True
    return stop == "target" and target is not None and progress.best_accuracy >= target
