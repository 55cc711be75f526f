"""Score the merged model on the validation split (which chooses the best round) and the test split (which tables report).

Rows are scored in chunks of a fixed size, wherever a process is free, and counted in order: how many processes there are
never changes a bit.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from fedquad.learn.jobs import Evaluate
from fedquad.learn.pool import Pool
from fedquad.learn.scores import Scores as Counts
from fedquad.learn.scores import accuracy, f1
from fedquad.rounds import adapters
from fedquad.rounds.facts import Scores
from fedquad.rounds.round import Outcome
from tasks.session import Arm

CHUNK = 256
BATCH = 64


async def evaluate(arm: Arm, outcome: Outcome) -> Scores:
    """Accuracy and loss of what the method hands out."""
    path, digest = arm.spool.send(arm.strategy.view(outcome.state, arm.world))
    return await arm.judge.score(path, digest)


async def evaluate_start(arm: Arm) -> None:
    """Score what all arms of the seed begin with, once, and note it in each: their curves begin there, at 0 s."""
    folder, shared = arm.folder.folder, arm.shared
    async with shared.scoring:
        shared.start = shared.start or folder.description().get("start", {})
        if not shared.start:
            rank = arm.spec.model.rank
            master = adapters.cut(shared.master, shared.master.layers, [rank] * len(shared.master.layers))
            scores = await arm.judge.score(*arm.spool.send(master))
            shared.start = {"score": scores.accuracy, "accuracy": scores.accuracy, "loss": scores.loss}
    if "start" not in folder.description():
        folder.note_start(shared.start)


class PoolJudge:
    """Scores adapters in the training processes, on a campaign's splits."""

    def __init__(self, pool: Pool, data: Mapping[str, Any]) -> None:
        self.pool = pool
        self.data = data

    async def score(self, path: str, digest: str) -> Scores:
        """Accuracy and loss of an adapter on both splits; where devices score, each example counts the same."""
        tests, validations = await asyncio.gather(*(self._split(path, digest, name) for name in ("test", "validation")))
        test, validation = reduce(Counts.__add__, tests), reduce(Counts.__add__, validations)
        return Scores(
            accuracy=accuracy(test.confusion),
            loss=finite(test.loss),
            validation_accuracy=accuracy(validation.confusion),
            validation_loss=finite(validation.loss),
            f1=f1(test.confusion) if "f1" in self.data["metrics"] else None,
            spread=spread(tests) if "devices" in self.data["splits"]["test"] else None,
        )

    async def _split(self, path: str, digest: str, name: str) -> list[Counts]:
        """Counts and losses of one split: of each device's part, or of all of it."""
        split = self.data["splits"][name]
        ends = list(accumulate(split.get("devices", [split["size"]]), initial=0))
        parts = [(start, stop) for start, stop in pairwise(ends) if start < stop]
        return await asyncio.gather(*(self._rows(path, digest, name, *part) for part in parts))

    async def _rows(self, path: str, digest: str, name: str, first: int, last: int) -> Counts:
        """Those of rows [first, last), added up in order of their chunks."""
        chunks = [
            Evaluate(adapter=path, digest=digest, split=name, start=start, stop=min(start + CHUNK, last), batch=BATCH)
            for start in range(first, last, CHUNK)
        ]
        answers = await asyncio.gather(*(self.pool.do(chunk) for chunk in chunks))
        counted = [
            Counts(confusion=np.asarray(a["confusion"], dtype=np.int64), loss_sum=a["loss_sum"]) for a in answers
        ]
        return reduce(Counts.__add__, counted)


def spread(devices: Sequence[Counts]) -> float:
    """Standard deviation of the devices' accuracies, each weighted by its examples as in their mean."""
    each = np.array([accuracy(one.confusion) for one in devices])
    weights = np.array([one.examples for one in devices])
    return float(np.sqrt(np.average((each - np.average(each, weights=weights)) ** 2, weights=weights)))


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
