"""Send every device its adapter and configuration, and spool the answers to disk as they arrive.

spool/sent-1f3a....safetensors    what devices start from, each content once
spool/device-0007.safetensors     a device's delta
spool/device-0007.json            its answer; written last, so an answer that is there is whole
"""

from collections.abc import Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from fedquad.learn.jobs import Train
from fedquad.rounds import adapters
from fedquad.rounds.round import Plan
from fedquad.store import files
from fedquad.types import Adapter, Assignment, CostEstimate
from tasks.fleet import Job
from tasks.progress import announce
from tasks.session import Arm


@task(
    name="dispatch",
    task_run_name="round {plan.round} - train {plan.size} devices",
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def dispatch(arm: Arm, plan: Plan) -> Mapping[int, str]:
    """Train the whole plan; returns the digest of what each device was sent."""
    return await train_all(arm, plan.asked, plan.round, plan.attempt)


async def train_all(
    arm: Arm, asked: tuple[tuple[Assignment, CostEstimate], ...], number: int, attempt: int, kind: str = "device"
) -> Mapping[int, str]:
    """Hand the assignments to the fleet and spool what comes back."""
    arm.folder.clear_spool()
    jobs = [job(arm, assignment, estimate, number, attempt, kind) for assignment, estimate in asked]
    done = 0
    async for device, answer in arm.shared.fleet.train(jobs, round=number, attempt=attempt):
        files.write_json(arm.folder.spool_path / f"{kind}-{device:04d}.json", answer)
        done += 1
        announce("trained", label=arm.label, seed=arm.seed, round=number, done=done, of=len(jobs))
    return {j.device: j.train.digest for j in jobs}


def job(arm: Arm, assignment: Assignment, estimate: CostEstimate, number: int, attempt: int, kind: str) -> Job:
    """What one device is told: paths and digests, its assignment, and the key of its randomness."""
    path, digest = spool(arm, arm.strategy.send(arm.state, assignment))
    train = Train(
        assignment=assignment,
        training=arm.world.training,
        adapter=path,
        digest=digest,
        shards=str(arm.shared.shards),
        key=(arm.seed, attempt, number, assignment.device),
        round=number,
        out=str(arm.folder.spool_path / f"{kind}-{assignment.device:04d}.safetensors"),
    )
    return Job(device=assignment.device, train=train, estimate=estimate)


def spool(arm: Arm, adapter: Adapter) -> tuple[str, str]:
    """Write an adapter where the training processes read it; the same content is written once."""
    tensors = adapters.flatten(adapter)
    digest = adapters.tensors_digest(tensors)
    path = arm.folder.spool_path / f"sent-{digest[:16]}.safetensors"
    if not path.exists():
        files.write_tensors(path, tensors)
    return str(path), digest
