"""How far an arm is: what its committed rounds amount to, kept up round by round, so that nobody reads the history twice."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedquad.objective import ACCURACY, Metric


@dataclass(slots=True)
class Progress:
    """The sum of the rounds until now, by the metric that the arm is judged by."""

    head: str = ""  # digest of the last round's manifest; before the first, of what the arm is computed from
    metric: Metric = ACCURACY
    last_round: int = 0
    last_score: float = math.nan
    last_digest: str = ""  # of the last round's state
    best_round: int = 0  # by the validation split, the first of equals
    best_digest: str = ""
    merit: float = -math.inf  # of the best round on the validation split: more is better
    best_score: float | None = None  # on the test split, of any round

    def add(self, facts: Mapping[str, Any], head: str = "") -> None:
        """Take one round in."""
        self.head = head
        self.last_round, self.last_score, self.last_digest = facts["round"], facts["score"], facts["state_digest"]
        known = [] if self.best_score is None else [self.best_score]
        self.best_score = self.metric.best([*known, facts["score"]])
        if (merit := self.metric.sign * facts["validation_score"]) > self.merit:
            self.best_round, self.best_digest, self.merit = facts["round"], facts["state_digest"], merit


def is_finished(progress: Progress, rounds: int, stop: str, target: float | None, until: int | None = None) -> bool:
    """Whether an arm that is so far has nothing left to do."""
    if progress.last_round >= min(rounds, until or rounds):
        return True
    if stop != "target" or target is None or progress.best_score is None:
        return False
    return progress.metric.sign * progress.best_score >= progress.metric.sign * target
