"""Score the merged model on the validation split (which chooses the best round) and the test split (which tables report).

Rows are scored in chunks of a fixed size, wherever a process is free, and counted in order: how many processes there are
never changes a bit.
"""

import asyncio
import math
from functools import reduce

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from fedquad.learn.jobs import Evaluate
from fedquad.learn.scores import Scores as Counts
from fedquad.learn.scores import accuracy, f1
from fedquad.rounds.facts import Scores
from fedquad.rounds.round import Outcome
from fedquad.types import Adapter
from tasks.dispatch import spool
from tasks.session import Arm

CHUNK = 256
BATCH = 64


@task(
    name="evaluate", task_run_name="round {outcome.state.round} - evaluate", cache_policy=NO_CACHE, persist_result=False
)
async def evaluate(arm: Arm, outcome: Outcome) -> Scores:
    """Accuracy and loss of what the method hands out."""
    view = arm.strategy.view(outcome.state)
    return await score(arm, view)


async def score(arm: Arm, view: Adapter) -> Scores:
    """Accuracy and loss of an adapter on both splits."""
    path, digest = spool(arm, view)
    splits = arm.session.data["splits"]
    test, validation = await asyncio.gather(
        *(_split(arm, path, digest, name, splits[name]["size"]) for name in ("test", "validation"))
    )
    return Scores(
        accuracy=accuracy(test.confusion),
        loss=finite(test.loss),
        validation_accuracy=accuracy(validation.confusion),
        validation_loss=finite(validation.loss),
        f1=f1(test.confusion) if "f1" in arm.session.data["metrics"] else None,
    )


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


async def _split(arm: Arm, path: str, digest: str, name: str, size: int) -> Counts:
    """Counts and losses of one split, added up in order of its chunks."""
    chunks = [
        Evaluate(adapter=path, digest=digest, split=name, start=start, stop=min(start + CHUNK, size), batch=BATCH)
        for start in range(0, size, CHUNK)
    ]
    answers = await asyncio.gather(*(arm.session.pool.do(chunk) for chunk in chunks))
    counted = [Counts(confusion=np.asarray(a["confusion"], dtype=np.int64), loss_sum=a["loss_sum"]) for a in answers]
    return reduce(Counts.__add__, counted)
