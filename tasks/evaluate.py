"""Score the merged model on the validation split (which chooses the best round) and the test split (which tables report).

Rows are scored in chunks of a fixed size, wherever a process is free, and counted in order: how many processes there are
never changes a bit.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import accumulate, pairwise
from typing import Any, Protocol

import numpy as np

from fedquad import discover
from fedquad.errors import ServiceError
from fedquad.learn.jobs import SCORED_AT_ONCE, Drift, evaluations
from fedquad.objective import Counts, Metric
from fedquad.rounds import adapters, prefix
from fedquad.rounds.facts import Scores
from fedquad.rounds.round import Outcome
from tasks.engine import Engine
from tasks.session import Arm

Sent = tuple[str, str]  # an adapter's file and its digest
Parts = dict[str, dict[int, Counts]]  # what was counted, by split and device; of a split that is the server's, under 0


async def evaluate(arm: Arm, outcome: Outcome) -> Scores:
    """Scores of what the method hands out, and how far off the prefixes are that its devices keep, where that is asked."""
    state = outcome.state
    scoring = arm.judge.score(*arm.spool.send(arm.strategy.view(state, arm.world)))
    former = prefix.anchored(state) if prefix.is_watched(state, arm.spec.training) else None
    if former is None:
        return await scoring
    probing = arm.judge.drift(arm.spool.send(former), arm.spool.send(state.adapter), prefix.top(state))
    scores, drift = await asyncio.gather(scoring, probing)
    return replace(scores, prefix_drift=finite(drift))


async def evaluate_start(arm: Arm) -> None:
    """Score what all arms of the seed begin with, once, and note it in each: their curves begin there, at 0 s."""
    folder, shared = arm.folder.folder, arm.shared
    async with shared.scoring:
        shared.start = shared.start or folder.description().get("start", {})
        if not shared.start:
            rank = arm.spec.model.rank
            master = adapters.cut(shared.master, shared.master.layers, [rank] * len(shared.master.layers))
            scores = await arm.judge.score(*arm.spool.send(master))
            shared.start = {"score": scores.score, **scores.metrics, "loss": scores.loss}
    if "start" not in folder.description():
        folder.note_start(shared.start)


class PoolJudge:
    """Scores adapters in the training processes, on a campaign's splits."""

    def __init__(
        self, pool: Engine, data: Mapping[str, Any], metric: Metric, prefix: int = 0, prefix_bytes: int = 0
    ) -> None:
        self.pool = pool
        self.data = data
        self.metric = metric
        self.prefix = prefix  # layers that nobody trains: what they make of an example is kept
        self.prefix_bytes = prefix_bytes

    async def score(self, path: str, digest: str) -> Scores:
        """Scores of an adapter on both splits."""
        return self.judged(await self.counted(path, digest))

    async def drift(self, former: Sent, adapter: Sent, layers: int) -> float:
        """How far apart two adapters' models are above their lowest layers, on the first validation examples."""
        (was, was_digest), (path, digest) = former, adapter
        job = Drift(
            former=was,
            former_digest=was_digest,
            adapter=path,
            digest=digest,
            split="validation",
            rows=SCORED_AT_ONCE,
            layers=layers,
        )
        return float((await self.pool.do(job))["drift"])

    async def counted(self, path: str, digest: str) -> Parts:
        """Counts on both splits."""
        names = ("test", "validation")
        found = await asyncio.gather(*(self._split(path, digest, name) for name in names))
        return dict(zip(names, found))

    def judged(self, parts: Parts) -> Scores:
        """Scores of what was counted; where devices score, each example counts the same."""
        tests, validations = (
            [parts[split][device] for device in sorted(parts[split])] for split in ("test", "validation")
        )
        if not tests or not validations:
            raise ServiceError("no device has scored; `fedquad campaign resume NAME` goes on when devices are there")
        test, validation = reduce(Counts.__add__, tests), reduce(Counts.__add__, validations)
        on_test, on_validation = self._metrics(test), self._metrics(validation)
        return Scores(
            score=on_test[self.metric.name],
            loss=finite(test.loss),
            validation_score=on_validation[self.metric.name],
            validation_loss=finite(validation.loss),
            metrics=on_test,
            validation_metrics=on_validation,
            spread=self._spread(tests) if "devices" in self.data["splits"]["test"] else None,
        )

    def _metrics(self, counted: Counts) -> dict[str, float]:
        """The data set's metrics, by name."""
        found = discover.objective(self.data["objective"]).score(counted.sums)
        return {name: found[name] for name in self.data["metrics"]}

    def _spread(self, devices: Sequence[Counts]) -> float:
        """Standard deviation of the devices' scores, each weighted by its examples as in their mean."""
        each = np.array([self._metrics(one)[self.metric.name] for one in devices])
        weights = np.array([float(one.sums["count"]) for one in devices])
        return float(np.sqrt(np.average((each - np.average(each, weights=weights)) ** 2, weights=weights)))

    async def _split(self, path: str, digest: str, name: str) -> dict[int, Counts]:
        """Counts and losses of one split: of each device's part, or of all of it."""
        split = self.data["splits"][name]
        ends = list(accumulate(split.get("devices", [split["size"]]), initial=0))
        parts = {device: part for device, part in enumerate(pairwise(ends)) if part[0] < part[1]}
        found = await asyncio.gather(*(self._rows(path, digest, name, *part) for part in parts.values()))
        return dict(zip(parts, found))

    async def _rows(self, path: str, digest: str, name: str, first: int, last: int) -> Counts:
        """Those of rows [first, last), added up in order of their chunks."""
        chunks = evaluations(path, digest, name, first, last, self.prefix, self.prefix_bytes)
        answers = await asyncio.gather(*(self.pool.do(chunk) for chunk in chunks))
        return reduce(Counts.__add__, map(Counts.from_json, answers))


class Counters(Protocol):
    """Whoever counts on examples that are not here."""

    async def counted(self, path: str, digest: str) -> Parts: ...


class FleetJudge:
    """Scores adapters by the examples of devices: of the simulated ones here, of the real ones where they are."""

    def __init__(self, here: PoolJudge, elsewhere: Counters) -> None:
        self.here = here
        self.elsewhere = elsewhere
        self.drift = here.drift

    async def score(self, path: str, digest: str) -> Scores:
        """Scores of an adapter on what all devices hold back."""
        ours, theirs = await asyncio.gather(*(one.counted(path, digest) for one in (self.here, self.elsewhere)))
        return self.here.judged({split: {**ours[split], **theirs[split]} for split in ours})


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
