"""Score the merged model on the validation split (which chooses the best round) and the test split (which tables report).

Rows are scored in chunks of a fixed size, wherever a process is free, and counted in order: how many processes there are
never changes a bit.
"""

import asyncio
import math
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from fedquad import adapters
from fedquad.facts import Scores
from fedquad.learn.scores import accuracy, f1
from fedquad.round import Outcome
from fedquad.types import Adapter
from tasks.dispatch import spool
from tasks.session import Arm

CHUNK = 256
BATCH = 64


@task(name="evaluate", task_run_name="round {outcome.state.round} - evaluate", cache_policy=NO_CACHE, persist_result=False)
async def evaluate(arm: Arm, outcome: Outcome) -> Scores:
    """Accuracy and loss of what the method hands out."""
    view = arm.strategy.view(outcome.state)
    return await score(arm, view)


async def score(arm: Arm, view: Adapter) -> Scores:
    path, digest = spool(arm, view)
    splits = arm.session.data["splits"]
    test, validation = await asyncio.gather(*(_split(arm, path, digest, name, splits[name]["size"]) for name in ("test", "validation")))
    return Scores(
        accuracy=accuracy(test[0]),
        loss=test[1],
        validation_accuracy=accuracy(validation[0]),
        validation_loss=validation[1],
        f1=f1(test[0]) if "f1" in arm.session.data["metrics"] else None,
    )


async def _split(arm: Arm, path: str, digest: str, name: str, size: int) -> tuple[list[list[int]], float | None]:
    """Confusion counts and mean loss of one split."""
    job = {"op": "evaluate", "adapter": path, "digest": digest, "split": name, "batch": BATCH}
    chunks = [{**job, "start": start, "stop": min(start + CHUNK, size)} for start in range(0, size, CHUNK)]
    answers: list[dict[str, Any]] = await asyncio.gather(*(arm.session.pool.do(chunk) for chunk in chunks))
    labels = len(answers[0]["confusion"])
    confusion = [[sum(a["confusion"][i][j] for a in answers) for j in range(labels)] for i in range(labels)]
    loss = sum(a["loss_sum"] for a in answers) / size
    return confusion, loss if math.isfinite(loss) else None
