"""Score an adapter where real devices hold examples back: each counts on its own, and what travels are the counts.

A device that does not answer in time, or with anything but counts, is left out of a score, and why is said.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from prefect.client.schemas.objects import FlowRun

from fedquad.errors import FedquadError
from fedquad.exchange.patience import patiently
from fedquad.learn.local import shares
from fedquad.objective import Counts, Objective
from fedquad.rounds import counted
from fedquad.rounds.unpack import Refused
from fedquad.store import files
from tasks.contents import tidy
from tasks.evaluate import Parts
from tasks.office import Office
from tasks.progress import announce

MOST_COUNTS_BYTES = 2**24  # two tables of a thousand classes
SCORED = re.compile(r"scored ([0-9a-f]{64})")


class DeviceScores:
    """The devices of an office, asked to score."""

    def __init__(self, office: Office, objective: Objective, labels: int, tokens: int, seconds: float) -> None:
        self.office = office
        self.objective = objective
        self.labels = labels
        self.tokens = tokens  # an example's at most
        self.seconds = seconds  # that a device may take

    async def counted(self, path: str, digest: str) -> Parts:
        """Counts by split and device, of those that are there and answer."""
        office, end = self.office, time.monotonic() + self.seconds
        await office.patiently(office.listen)
        asked = {device: who for device, who in office.roster.real().items() if not office.why_absent(who)}
        content = await asyncio.to_thread(files.read_bytes, Path(path), 2**40)
        parameters = {"adapter": await office.laid_down(content, until=end), "adapter_digest": digest}
        runs = await office.ask(asked.values(), "score", parameters, end - time.monotonic())
        found: Parts = {split: {} for split in counted.SPLITS}
        for device, who in sorted(asked.items()):
            try:
                for split, counts in (await self._read(device, runs.get(who), end)).items():
                    found[split][device] = counts
            except (FedquadError, Refused) as reason:
                announce("notice", message=f"{who[1]} is left out of the score: {reason}")
        await tidy(partial(office.exchange.keep_only, [office.opening]))
        return found

    async def _read(self, device: int, run: FlowRun | None, end: float) -> Mapping[str, Counts]:
        """What a device's run left in the exchange."""
        if run is None or run.state is None:
            raise Refused(f"it has not answered within {self.seconds:g} s")
        said = SCORED.fullmatch(run.state.message or "") if run.state.is_completed() else None
        if said is None:
            raise Refused(f"its run ended as {run.state.name}: {run.state.message or 'no message'}")
        data = await patiently(
            partial(self.office.exchange.get, said.group(1), MOST_COUNTS_BYTES),
            until=end,
            tell=lambda message: announce("notice", message=message),
        )
        held = shares(self.office.roster.examples[device])
        most = max(len(held["validation"]), len(held["test"])) * self.tokens
        return counted.read(data, self.objective, self.labels, most)
