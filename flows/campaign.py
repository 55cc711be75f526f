"""The campaign flow: every method on every seed, on the same devices, data and initial adapter."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from enum import Enum
from typing import Annotated, Any

from prefect import flow, get_run_logger, runtime
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL
from pydantic import Field

from fedquad import discover
from fedquad.errors import ArmFailedError, FedquadError
from fedquad.spec import MOST_ARMS, MOST_ROUNDS, MOST_SEEDS, CampaignSpec
from fedquad.spec_text import keys
from flows import admission, log_lines, results, watch
from flows.arm import arm
from flows.guard import check_api
from flows.reap import campaign_tag, crash_dead_runs
from tasks import report
from tasks.prepare import current, is_finished, open_arm, opened
from tasks.progress import LISTENER, announce
from tasks.session import CURRENT, Session
from tasks.track import Tracker

ARMS_AT_ONCE = 2  # while one arm merges and records, the other trains: the training processes hardly idle

Preset = Enum("Preset", {name: name for name in discover.presets()}, type=str)  # type: ignore[misc]
QUICKSTART = Preset("quickstart")


def methods_to_choose() -> list[str]:
    """Every installed method, and each of the package's own with its variants."""
    found = []
    for method in discover.strategies():
        others = discover.variants(method)[1:] if method in discover.modules("fedquad.strategies") else ()
        found += [method, *(f"{method}:{variant}" for variant in dict.fromkeys([*others, discover.PACED]))]
    return found


Method = Enum("Method", {name: name for name in methods_to_choose()}, type=str)  # type: ignore[misc]
Name = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:-]{0,63})?$")]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
KNOWN = [key for key, _ in keys(CampaignSpec) if not key.startswith("arms")]
SETTINGS = {  # what the form refuses before a run is made; the spec knows the rest
    "propertyNames": {"anyOf": [{"enum": KNOWN}, {"pattern": r"^fleet\.(boards|modes|pools)\."}]},
    "examples": [{"training.batch": 16, "fleet.jitter": 0.1}],
}


@flow(name="campaign", flow_run_name=lambda: run_name(runtime.flow_run.parameters), persist_result=False)
async def campaign(
    preset: Preset = QUICKSTART,
    name: Name = "",
    methods: Annotated[list[Method], Field(max_length=MOST_ARMS)] = [],  # noqa: B006  # Prefect validates a copy
    rounds: Annotated[int, Field(ge=0, le=MOST_ROUNDS)] = 0,
    seeds: Annotated[list[Seed], Field(max_length=MOST_SEEDS)] = [],  # noqa: B006
    settings: Annotated[dict[str, Any], Field(json_schema_extra=SETTINGS)] = {},  # noqa: B006
    until: Annotated[int, Field(ge=0, le=MOST_ROUNDS)] = 0,
    spec: CampaignSpec | None = None,
) -> dict[str, Any]:
    """Compare methods. Goes on after the last committed round if a campaign of this name was interrupted.

    Args:
        preset: A campaign that is ready to run; the fields below change it.
        name: The campaign's name and folder; empty means the preset's. One that exists goes on where it stands.
        methods: Methods to compare, variants after a colon; none means the preset's.
        rounds: Rounds each arm runs at most; 0 means the preset's.
        seeds: Each arm runs once for each; none means the preset's.
        settings: Further settings by dotted key, as an object such as {"training.batch": 16}.
        until: Stop every arm after this round, 0 means at its end; the campaign can go on later.
        spec: A whole campaign instead of a preset; the fields above but the name and the last round then say nothing.
    """
    check_api(PREFECT_API_URL.value())
    session = CURRENT.get(None)  # `launch.run` opens one before the flow, for a spec that is checked; a worker does not
    if session is None or spec is None:
        changed: dict[str, Any] = {"methods": methods, "rounds": rounds, "seeds": seeds, "settings": settings}
        spec, name = admission.asked(spec, preset.value, name, **changed)
    async with AsyncExitStack() as stack:
        patience = watch.RESTART_SECONDS if spec.fleet.pools else 0.0
        stack.enter_context(watch.over(runtime.flow_run.id, f"campaign {name}", patience))
        if session is None:
            LISTENER.set(log_lines.into(get_run_logger()))
            session = await stack.enter_async_context(opened(spec, name))
            stack.enter_context(current(session))
        session.tracker = Tracker(session.folder, spec)
        await crash_dead_runs(campaign_tag(session.folder.path))
        if session.preparing is not None:
            await session.preparing
        planned = [(a.name, seed) for a in spec.arms for seed in spec.seeds]
        announce(
            "started",
            campaign=name,
            arms=[{"label": label, "seed": seed} for label, seed in planned],
            rounds=spec.rounds,
        )
        states = await _run_arms(session, planned, until or None)
        summary = await asyncio.to_thread(_close, session, planned, not until)
        await results.show(summary, await asyncio.to_thread(session.tracker.page))
    failed = [
        f"{label}-s{seed}: {state.message}" for (label, seed), state in states.items() if not state.is_completed()
    ]
    if failed:
        raise ArmFailedError(
            f"{len(failed)} of {len(planned)} arms did not finish ({'; '.join(failed)}); the others are complete"
        )
    return summary


def run_name(parameters: Mapping[str, Any]) -> str:
    """What the UI calls a run: the campaign's name."""
    preset = parameters.get("preset")
    return str(parameters.get("name") or getattr(preset, "value", preset))


async def _run_arms(
    session: Session, planned: list[tuple[str, int]], until: int | None
) -> dict[tuple[str, int], State]:
    """Run what is not finished, some arms at a time; one arm's failure leaves the others running."""
    places = asyncio.Semaphore(1 if session.spec.fleet.pools else ARMS_AT_ONCE)  # a real device does one job at a time

    async def run_one(label: str, seed: int) -> State:
        async with places:
            return await arm(label, seed, until, return_state=True)

    open_arms = [
        (label, seed)
        for label, seed in planned
        if not is_finished(session.spec, session.folder.arm(label, seed).progress(), until)
    ]
    states = await asyncio.gather(*(run_one(label, seed) for label, seed in open_arms))
    return dict(zip(open_arms, states))


def _close(session: Session, planned: list[tuple[str, int]], is_whole: bool) -> dict[str, Any]:
    """Write the summary and, of a run that was not cut short, the report; send MLflow what it has not got yet."""
    for label, seed in planned:
        if is_finished(session.spec, session.folder.arm(label, seed).progress()):
            open_arm(session, label, seed)  # which makes its exports again where a kill left old ones
    summary = session.folder.write_summary()
    methods = {a.name: a.method for a in session.spec.arms}
    for label, seed in planned:
        session.tracker.send(label, methods[label], seed, finished=True)
    if is_whole:
        _report(session)
    return summary


def _report(session: Session) -> None:
    """Write the report; a campaign has run all the same where that cannot be."""
    try:
        report.write(session.folder)
        session.tracker.send_campaign()
    except FedquadError as error:
        announce(
            "notice",
            message=f"the report was not written: {error}; `fedquad campaign report {session.folder.name}` does it",
        )
