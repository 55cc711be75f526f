"""A fleet of real devices: every training is a flow run in its device's queue, its seconds are those the device reports.

A round asks Prefect once a second, for all its runs together. A device that has not answered by the deadline, whose run was
cancelled, or that has fallen silent, counts as lost; its run is ended, and whatever it still sends is not looked at. A run that
crashed is sent once more, an exchange that is away is asked again until the deadline. What a device answers is read through the
gate like any other's.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import TaskRunContext

from fedquad.errors import ExchangeError, FedquadError, ServiceError
from fedquad.exchange.medium import Away
from fedquad.fleets import fleet, reported
from fedquad.prices.cost import CostModel
from fedquad.store import files
from fedquad.types import Statuses
from tasks.contents import tidy
from tasks.fleet import Answer, Job
from tasks.joined import Who
from tasks.office import LISTEN_SECONDS, LOOK_SECONDS, Office
from tasks.progress import announce
from tasks.simulated_fleet import failed_answer

MOST_ANSWER_BYTES = 2**22
ANSWER = re.compile(r"answer ([0-9a-f]{64}) delta ([0-9a-f]{64}|none) first step (\d{1,12}\.\d{3}) loads (\d{1,9})")
STATUS = (
    "flops",
    "memory_bandwidth",
    "upload_bandwidth",
    "download_bandwidth",
    "training_watts",
    "idle_watts",
    "radio_watts",
)


@dataclass(slots=True)
class Sent:
    """A job on its way: the run that carries it, and when that was asked for."""

    job: Job
    who: Who
    run_id: UUID | None  # None until it is there
    at: float  # by our own clock
    at_time: float
    most_bytes: int  # of its delta
    tries: int = 1
    trouble: str = ""  # why its answer is not had yet

    @property
    def id(self) -> UUID:
        assert self.run_id is not None
        return self.run_id


class WorkPoolFleet:
    """Devices behind work pools, as one seed's arms see them."""

    def __init__(self, drawn: fleet.Fleet, cost: CostModel, office: Office, seed: int) -> None:
        self.drawn = drawn
        self.cost = cost
        self.office = office
        self.seed = seed
        self.latest: Statuses | None = None

    async def statuses(self, round: int) -> Statuses:
        """What the devices report, in the rows of those that are there."""
        await self.office.patiently(self.office.listen)
        drawn = fleet.draw(self.drawn, self.cost, self.seed, round)
        real = self.office.roster.real()
        reasons = {device: self.office.why_absent(who) for device, who in real.items()}
        for device, reason in reasons.items():
            if reason:
                announce("notice", message=f"round {round}: device {device} ({real[device][1]}) is absent: {reason}")
        there = [
            not reasons[device] if device in real else not pool and bool(drawn.available[device])
            for device, (pool, _) in enumerate(self.office.roster.places)
        ]
        self.latest = reported.as_reported(drawn, self.office.roster.of(self.office.heard), self.cost, there)
        return self.latest

    async def train(self, jobs: Sequence[Job], *, round: int, attempt: int) -> AsyncIterator[Answer]:
        """Send the jobs out, yield what comes back by the deadline; whoever stops listening has the rest ended."""
        sent: dict[UUID, Sent] = {}
        try:
            for one in await asyncio.gather(*(self._send(job) for job in jobs)):
                if isinstance(one, Sent):
                    sent[one.id] = one
                else:
                    yield one
            listened = time.monotonic()
            while sent:
                await asyncio.sleep(LOOK_SECONDS)
                if time.monotonic() - listened > LISTEN_SECONDS:
                    listened = time.monotonic()
                    await self.office.patiently(self.office.listen)
                for answer in await self._arrived(sent):
                    yield answer
        finally:
            for run_id in sent:
                self.office.runs.end(run_id, "nobody waits for it any more")
            await tidy(partial(self.office.exchange.keep_only, [self.office.opening]))

    async def _arrived(self, sent: dict[UUID, Sent]) -> list[Answer]:
        """The answers that are there now, of those that came, failed, or are too late."""
        runs = await self.office.patiently(partial(self.office.runs.look, sent))
        answers = []
        for run_id, one in list(sent.items()):
            run = runs.get(run_id)
            late = self._is_late(one, run)
            state = run.state if run is not None else None
            if late:
                answers.append(self._lost(one, run, self._too_late(one.trouble)))
            elif run is not None and state is not None and state.is_final():
                if again := await self._again(one, run):
                    del sent[run_id]
                    if isinstance(again, Sent):
                        sent[again.id] = again
                    else:
                        answers.append(again)
                    continue
                try:
                    answers.append(await self._answer(one, run))
                except Away as away:  # asked for again at the next look
                    one.trouble = str(away)
                    announce("notice", message=f"the answer of {one.who[1]} cannot be fetched: {away}; asking again")
                    continue
            elif one.who not in self.office.heard:
                answers.append(
                    self._lost(one, run, f"it fell silent: no report for {self.drawn.spec.status_seconds:.0f} s")
                )
            else:
                continue
            del sent[run_id]
            if state is None or not state.is_final():
                self.office.runs.end(run_id, "past its deadline" if late else "its device fell silent")
        return answers

    def _is_late(self, one: Sent, run: FlowRun | None) -> bool:
        """Whether the deadline has passed without an answer; one that was there in time is taken, however late Prefect lets us see it."""
        if time.monotonic() - one.at <= self.drawn.spec.deadline_seconds:
            return False
        if one.trouble or run is None or run.state is None or run.end_time is None:
            return True
        return not run.state.is_completed() or run.end_time.timestamp() > self._deadline(one)

    def _deadline(self, one: Sent) -> float:
        return one.at_time + self.drawn.spec.deadline_seconds

    def _too_late(self, trouble: str) -> str:
        return f"no answer within {self.drawn.spec.deadline_seconds:.0f} s" + (f": {trouble}" if trouble else "")

    async def _send(self, job: Job, tries: int = 1) -> Sent | Answer:
        """Lay the adapter down and put a run into the device's queue; where that cannot be, the device is lost."""
        who = self.office.roster.places[job.device]
        if not who[1]:
            raise ServiceError(f"device {job.device} is asked, but nobody joined in its place")
        content = await asyncio.to_thread(files.read_bytes, Path(job.train.adapter), 2**40)
        one = Sent(job, who, None, time.monotonic(), time.time(), 2 * len(content) + 2**20, tries)
        until = one.at + self.drawn.spec.deadline_seconds
        try:
            adapter = await self.office.laid_down(content, until=until)
        except ExchangeError as error:
            return self._lost(one, None, f"its adapter could not be sent: {error}")
        arm, task = Path(job.train.out).parent.parent.name, Path(job.train.out).stem
        round, attempt = job.train.round, job.train.key[1]
        context = TaskRunContext.get()
        parameters = {
            "name": f"{arm} round {round} - {who[1]}",
            "scope": self.office.scope,
            "opening": self.office.opening,
            "seconds": max(1.0, until - time.monotonic()),
            "round": round,
            "key": list(job.train.key),
            "assignment": asdict(job.train.assignment),
            "adapter": adapter,
            "adapter_digest": job.train.digest,
        }
        key = f"{self.office.scope} {self.office.opening} {arm} {round} {attempt} {task} {job.train.digest} {tries}"
        if tries > 1:
            key += f" {time.time_ns()}"
        parent = context.task_run.id if context else None
        run = await self.office.patiently(partial(self.office.runs.create, *who, parameters, key, parent))
        one.run_id = run.id
        return one

    async def _again(self, one: Sent, run: FlowRun) -> Sent | Answer | None:
        """Send a job once more whose run crashed while its device is there."""
        is_crash = run.state is not None and run.state.type == StateType.CRASHED
        if not is_crash or one.tries > 1 or one.who not in self.office.heard:
            return None
        again = await self._send(one.job, one.tries + 1)
        if isinstance(again, Sent):
            again.at, again.at_time = one.at, one.at_time  # its deadline stays
        return again

    async def _answer(self, one: Sent, run: FlowRun) -> Answer:
        """What a finished run left in the exchange; whatever is wrong with that is the device's failure."""
        state, waited = run.state, time.monotonic() - one.at
        assert state is not None
        found = ANSWER.fullmatch(state.message or "") if state.is_completed() else None
        if found is None:
            return self._lost(one, run, f"its run ended as {state.name}: {state.message or 'no message'}")
        document, delta, first_step, loads = found.groups()
        try:
            answer = await asyncio.to_thread(self.office.exchange.get, document, MOST_ANSWER_BYTES)
            if delta != "none":
                content = await asyncio.to_thread(self.office.exchange.get, delta, one.most_bytes)
                files.write_bytes(Path(one.job.train.out), content)
        except Away:
            raise
        except FedquadError as error:
            return self._lost(one, run, f"its answer cannot be fetched: {error}")
        if run.start_time and run.end_time:  # of a run that an earlier coordinator asked for, we have not seen all
            waited = max(waited, (run.end_time - run.start_time).total_seconds())
        about = {"answer": document, "first_step": float(first_step), "loads": int(loads)}
        return Answer(one.job.device, answer, waited, self._about(one, run) | about)

    def _lost(self, one: Sent, run: FlowRun | None, reason: str) -> Answer:
        waited = time.monotonic() - one.at
        answer = failed_answer(one.job, reason, waited)
        return Answer(one.job.device, answer.document, waited, self._about(one, run))

    def _about(self, one: Sent, run: FlowRun | None) -> dict[str, Any]:
        """How a job went by Prefect's own times, for the facts."""
        now = time.time()
        ended = run.end_time.timestamp() if run is not None and run.end_time else None
        began = run.start_time.timestamp() if run is not None and run.start_time else None
        status = {name: float(getattr(self.latest, name)[one.job.device]) for name in STATUS} if self.latest else {}
        return {
            "run": str(one.run_id or ""),
            "name": one.who[1],
            "tries": one.tries,
            "state": run.state_name if run is not None and run.state_name else "unknown" if one.run_id else "not sent",
            "sent": one.at_time,
            "started": began,
            "ended": ended,
            "taken": now,
            "deadline": self._deadline(one),
            "status": {name: value if value < 1e300 else None for name, value in status.items()},
        }
