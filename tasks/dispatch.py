"""Send every device its adapter and configuration, and spool the answers as they arrive."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from fedquad.learn.jobs import Train
from fedquad.rounds.admit import Asked
from fedquad.rounds.round import Plan
from fedquad.store.gate import Answers
from fedquad.types import Assignment, CostEstimate
from tasks.fleet import Job
from tasks.progress import announce
from tasks.session import Arm


async def dispatch(arm: Arm, plan: Plan) -> Answers:
    """Train the whole plan; returns what came back, behind the gate."""
    return await train_all(arm, plan.asked, plan.round, plan.attempt, cohort_of=plan.cohort_of)


async def train_all(
    arm: Arm,
    asked: tuple[tuple[Assignment, CostEstimate], ...],
    number: int,
    attempt: int,
    kind: str = "device",
    cohort_of: Mapping[int, int] = MappingProxyType({}),
) -> Answers:
    """Hand the assignments to the fleet and spool what comes back."""
    arm.spool.clear()
    arm.told = {}
    jobs = [
        replace(job(arm, assignment, estimate, number, attempt, kind), cohort=cohort_of.get(assignment.device))
        for assignment, estimate in asked
    ]
    done, waited = 0, {}
    async for answer in arm.shared.fleet.train(jobs, round=number, attempt=attempt):
        arm.spool.put(kind, answer.device, answer.document)
        waited[answer.device] = answer.waited
        arm.told[answer.device] = answer.about
        done += 1
        announce("trained", label=arm.label, seed=arm.seed, round=number, done=done, of=len(jobs))
    expected = tuple(
        Asked(
            assignment=j.train.assignment,
            round=number,
            sent=j.train.digest,
            like=arm.state.adapter,
            waited=waited[j.device],
        )
        for j in jobs
    )
    return Answers(arm.spool.path, expected, kind)


def job(arm: Arm, assignment: Assignment, estimate: CostEstimate, number: int, attempt: int, kind: str) -> Job:
    """What one device is told: paths and digests, its assignment, and the key of its randomness."""
    path, digest = arm.spool.send(arm.strategy.send(arm.state, assignment, arm.world))
    train = Train(
        assignment=assignment,
        training=arm.world.training,
        adapter=path,
        digest=digest,
        shards=str(arm.shared.shards),
        key=(arm.seed, attempt, number, assignment.device),
        round=number,
        out=arm.spool.out(kind, assignment.device),
    )
    return Job(device=assignment.device, train=train, estimate=estimate)
