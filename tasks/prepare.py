"""Get a campaign ready: data tokenised, model loaded in every process, and what all arms of a seed share drawn once.

Knows nothing of Prefect, so that it can run while prefect is still being imported.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fedquad import discover, wire
from fedquad.fleets import fleet
from fedquad.fleets.partition import own, partition
from fedquad.learn import jobs, local, tokens
from fedquad.objective import Metric, Objective
from fedquad.prices.cost import cost_model
from fedquad.rounds import adapters, cohorts, round
from fedquad.rounds.prefix import remembered, untrained
from fedquad.rounds.strategy import Strategy, World
from fedquad.spec import ArmSpec, CampaignSpec, DataSpec, require
from fedquad.store import inputs, progress
from fedquad.store.arm import ArmFolder, OpenArm
from fedquad.store.campaign import campaign, home
from fedquad.store.environment import environment
from fedquad.store.files import digest_of
from fedquad.store.progress import Progress
from fedquad.store.spool import Spool
from fedquad.types import Ints, ModelLayout
from tasks.engine import engine_of
from tasks.evaluate import FleetJudge, PoolJudge
from tasks.export import renew
from tasks.fleet import DeviceFleet
from tasks.progress import announce
from tasks.session import CURRENT, Arm, Judge, Seed, Session
from tasks.simulated_fleet import SimulatedFleet


@asynccontextmanager
async def opened(spec: CampaignSpec, name: str) -> AsyncIterator[Session]:
    """A campaign's folder held, its training processes started, its model, data and fleet ready."""
    folder = campaign(name)
    with folder.open(spec):
        pool = engine_of(spec, folder)
        try:
            await pool.start()
            session = Session(folder, spec, pool)
            async with session.held:
                await prepare(session)
                yield session
        finally:
            await pool.close()


@contextmanager
def current(session: Session) -> Iterator[None]:
    """Make this the session that flows find."""
    token = CURRENT.set(session)
    try:
        yield
    finally:
        CURRENT.reset(token)


async def prepare(session: Session) -> None:
    """Load the model and the data, draw the fleet."""
    spec, pool = session.spec, session.pool
    strategies = [discover.strategy(arm.method, arm.params) for arm in spec.arms]
    if spec.fleet.pools:
        from tasks import office  # imports prefect

        announce("loading", what="devices")
        session.office = await session.held.enter_async_context(office.opened(session.folder, spec))
        session.labels = session.office.roster.labels
    announce("loading", what="data")
    session.data = await pool.do(preparing(session))
    if session.data.get("note"):
        announce("notice", message=session.data["note"])
    objective = discover.objective(session.data["objective"])
    session.metric = objective.metric(session.data["metrics"][0])
    refuse_target(spec, session.metric)
    refuse_unit(spec, objective)
    session.inputs = {"spec": session.folder.spec_digest()} | {
        f"{name} tokens": split["content"] for name, split in session.data["splits"].items()
    }
    announce("loading", what="model")
    session.opening = jobs.Open(
        model=spec.model,
        labels=session.data["labels"],
        greatest_rank=max(s.greatest_rank(spec.model.rank) for s in strategies),
        splits={name: split["path"] for name, split in session.data["splits"].items()},
        threads=spec.training.threads,
        objective=session.data["objective"],
    )
    opened = await pool.open(session.opening)
    session.layout = wire.from_json(ModelLayout, opened["layout"])
    if opened.get("bf16_pays") and trains_here(spec):
        announce(
            "notice",
            message=f"{spec.model.name} would train faster here with model.precision=bf16; its bits are others",
        )
    session.cost = cost_model(
        session.layout.shape,
        spec.model,
        spec.training,
        spec.cost,
        session.data["labels"],
        inputs.profile_of(spec.cost),
        objective.head,
    )
    if session.office is not None:
        await session.office.join(joining(session), max(spec.fleet.deadline_seconds, spec.fleet.join_seconds))
    drawn = fleet.resolve(spec.fleet, discover.boards(), inputs.trace_of(spec.fleet))
    session.seeds = {seed: draw_seed(session, drawn, seed) for seed in spec.seeds}


def trains_here(spec: CampaignSpec) -> bool:
    """Whether there are simulated devices, which train on this machine."""
    return spec.fleet.engine == "local" and bool(set(spec.fleet.boards) - set(spec.fleet.pools))


def joining(session: Session) -> jobs.Join:
    """What a real device has to load."""
    spec = session.spec
    return jobs.Join(
        model=spec.model,
        data=spec.data,
        objective=session.data["objective"],
        labels=tuple(session.data["label_names"]),
        greatest_rank=session.opening.greatest_rank,
        training=spec.training,
        backbone=session.layout.digest,
    )


def preparing(session: Session) -> jobs.Prepare:
    """What is to be tokenised here; with partition `local` that is whatever lies here of the devices' own."""
    spec = session.spec
    is_local = spec.data.partition == "local"
    folders = local.folders(spec.data.source, spec.fleet.boards, spec.fleet.pools) if is_local else ()
    cache = str(home() / "cache")
    return jobs.Prepare(data=spec.data, model=spec.model, seed=0, cache=cache, folders=folders, labels=session.labels)


def partition_of(data: DataSpec, objective: Objective) -> str:
    """How examples are dealt: where they have no classes, not by them."""
    if objective.has_classes:
        return data.partition or "class_mix"
    require(
        data.partition not in ("class_mix", "dirichlet"),
        "data.partition",
        data.partition,
        f"{objective.name} has no classes to deal by; there are iid and column",
    )
    return data.partition or "iid"


def refuse_unit(spec: CampaignSpec, objective: Objective) -> None:
    """A device counts by tokens where answers are what it learns."""
    require(
        spec.training.weigh != "tokens" or objective.name == "causal_lm",
        "training.weigh",
        spec.training.weigh,
        f"{spec.data.name} is a task of {objective.name}, which has no answers; there is examples",
    )


def refuse_target(spec: CampaignSpec, metric: Metric) -> None:
    """A target is a score that there can be."""
    require(
        spec.target_accuracy is None or metric.name == "accuracy",
        "target_accuracy",
        spec.target_accuracy,
        f"{spec.data.name} is judged by {metric.name}; set target",
    )
    require(
        spec.target is None or not metric.is_share or 0 < spec.target <= 1,
        "target",
        spec.target,
        f"{metric.name} lies in (0, 1]",
    )


def draw_seed(session: Session, drawn: fleet.Fleet, seed: int) -> Seed:
    """The split, the master adapter and the fleet of one seed, with their digests."""
    spec, layout = session.spec, session.layout
    rows = dealt(session, len(drawn), seed)
    examples = np.array([len(indices) for indices in rows], dtype=np.int64)
    shards = {str(device): indices for device, indices in enumerate(rows)}
    split = adapters.tensors_digest(shards)
    path = home() / "cache" / "shards" / f"{split[:16]}.safetensors"
    inputs.keep(path, shards, split)
    if spec.data.partition == "local":  # then the shards say how many examples a device has, and the data which
        split = digest_of([split, session.data["splits"]["train"]["digest"]])
    if session.office is not None:  # what lies on real devices is known here by its number alone
        shares = [local.shares(known, spec.data.evaluation)["train"] for known in session.office.roster.examples]
        examples += np.array([len(share) for share in shares], dtype=np.int64)
        split = digest_of([split, [list(who) for who in session.office.roster.places], examples.tolist()])
    master = adapters.initial(layout, session.opening.greatest_rank, seed)
    digests = {
        "split": split,
        "data": session.data["splits"]["train"]["digest"],
        "trace": fleet.digest(drawn, session.cost, seed, spec.rounds),
        "adapter": adapters.digest(adapters.cut(master, master.layers, [spec.model.rank] * len(master.layers))),
        "backbone": layout.digest,
        "prices": digest_of(asdict(session.cost)),
    }
    return Seed(seed, master, path, examples, fleet_of(session, drawn, seed), digests)


def dealt(session: Session, devices: int, seed: int) -> tuple[Ints, ...]:
    """Which training examples are whose."""
    spec, train = session.spec, session.data["splits"]["train"]
    if spec.data.partition == "local":
        return own(session.data["devices"])
    labels, groups = tokens.read_labels(Path(train["path"]))
    return partition(
        labels,
        devices,
        kind=partition_of(spec.data, discover.objective(session.data["objective"])),
        alpha=spec.data.alpha,
        seed=seed,
        batch=spec.training.batch,
        columns=groups,
    )


def fleet_of(session: Session, drawn: fleet.Fleet, seed: int) -> DeviceFleet:
    """The fleet as specified: simulated on this machine, or behind Prefect's work pools."""
    simulated = SimulatedFleet(drawn, session.cost, session.pool, seed)
    if session.office is None:
        return simulated
    from tasks.mixed_fleet import MixedFleet
    from tasks.work_pool_fleet import WorkPoolFleet  # imports prefect

    real = WorkPoolFleet(drawn, session.cost, session.office, seed)
    return (
        MixedFleet(real, simulated, session.office.roster) if set(drawn.spec.boards) - set(drawn.spec.pools) else real
    )


def judge_of(session: Session) -> Judge:
    """Whoever scores what a method hands out: the training processes here, and real devices by what they hold back."""
    training, layers = session.spec.training, session.layout.shape.layers
    kept = untrained(training, layers)
    here = PoolJudge(session.pool, session.data, session.metric, kept, training.prefix_bytes)
    if session.office is None or session.spec.data.evaluation == "server":
        return here
    from tasks.device_scores import DeviceScores  # imports prefect

    objective, spec = discover.objective(session.data["objective"]), session.spec
    labels, tokens, seconds = session.data["labels"], spec.model.max_length, spec.fleet.deadline_seconds
    return FleetJudge(here, DeviceScores(session.office, objective, labels, tokens, seconds))


def open_arm(session: Session, label: str, seed: int) -> Arm:
    """An arm where it stands: its latest committed state, or its beginning."""
    spec, shared = session.spec, session.seeds[seed]
    chosen = next(arm for arm in spec.arms if arm.name == label)
    strategy = remembered(discover.strategy(chosen.method, chosen.params), spec.training)
    world = world_of(session, chosen, strategy, shared)
    about = {"label": label, "method": chosen.method, "params": dict(chosen.params), "seed": seed}
    if "label_names" in session.data:  # of the devices; no set knows them
        about["labels"] = session.data["label_names"]
    about |= {"metric": session.metric.to_json(), "metrics": session.data["metrics"]}
    computed_from = {**session.inputs, **inputs.method_digest(chosen.method)}
    folder = describe(session.folder.arm(label, seed), {**about, "inputs": computed_from}, shared, spec)
    work = Arm(
        campaign=session.folder.name,
        spec=spec,
        layout=session.layout,
        label=label,
        method=chosen.method,
        shared=shared,
        strategy=strategy,
        world=world,
        state=folder.latest() or round.begin(strategy, shared.master, world),
        folder=folder,
        spool=Spool(folder.spool_path),
        judge=judge_of(session),
    )
    renew(work)
    return work


def describe(folder: ArmFolder, about: dict[str, Any], shared: Seed, spec: CampaignSpec) -> OpenArm:
    """Write down what the arm is and what it was begun with; say so when it goes on with other versions, whose bits may differ."""
    present = environment(spec.training.threads)
    begun = folder.description().get("environment", present)
    changed = [key for key in begun if key != "commit" and begun[key] != present.get(key)]
    if changed:
        announce(
            "notice",
            message=f"{folder.path.name} was begun with another {', '.join(changed)}; its bits may differ from here on",
        )
    return folder.begin({**about, "digests": shared.digests, "environment": present})


def world_of(session: Session, arm: ArmSpec, strategy: Strategy, shared: Seed) -> World:
    policy = strategy.memory_policy if arm.memory_policy == "default" else arm.memory_policy
    return World(
        layers=session.layout.shape.layers,
        rank=session.spec.model.rank,
        cost=session.cost,
        training=session.spec.training,
        examples=shared.examples,
        rounds=session.spec.rounds,
        memory_policy=policy,
        cohort=most_in_a_stack(session.spec, session.layout),
        suspend_rounds=session.spec.fleet.suspend_rounds,
    )


def most_in_a_stack(spec: CampaignSpec, layout: ModelLayout) -> int:
    """How many devices may train in one stack; real ones train alone, and unless told otherwise a fleet with their folders does, to have their bits."""
    stands_for_real = spec.data.partition == "local" and spec.training.cohort is None
    return 0 if spec.fleet.pools or stands_for_real else cohorts.most(layout, spec.model, spec.training)


def is_finished(spec: CampaignSpec, done: Progress, until: int | None = None) -> bool:
    """Whether an arm that is so far has nothing left to do."""
    return progress.is_finished(done, spec.rounds, spec.stop, spec.goal, until)
