"""Work pools and deployments, through Prefect's client: what prefect.yaml describes, for `fedquad up` (a CLI call costs 3 s).

A test deploys prefect.yaml and compares. Idempotent; schedules and paused stay as whoever uses the UI left them.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from flows import registered

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

CAMPAIGNS = "campaigns"
BOARDS = {
    "jetson-tx2": "Jetson TX2",
    "jetson-nx": "Jetson Xavier NX",
    "jetson-agx": "Jetson AGX Xavier",
    "jetson-orin": "Jetson Orin",
}
POOLS = {
    CAMPAIGNS: "Campaigns and profiles, on the machine that coordinates.",
    **{pool: f"Devices: {board}. One queue a device." for pool, board in BOARDS.items()},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """One deployment."""

    name: str
    entrypoint: str
    pool: str
    description: str
    tags: tuple[str, ...] = ("fedquad",)
    limit: int | None = None  # runs at a time; the others wait


DEPLOYED = (
    Deployed(
        name="campaign",
        entrypoint="flows.campaign.campaign",
        pool=CAMPAIGNS,
        description="Compare methods on one model, task and fleet.",
        limit=1,  # two campaigns on one machine share its cores: both take twice as long
    ),
    Deployed(
        name="profile",
        entrypoint="flows.profile.profile",
        pool=CAMPAIGNS,
        description="Measure what training costs on the machine of the worker.",
        limit=1,
    ),
    *(
        Deployed(
            name=pool,
            entrypoint="flows.device.device",
            pool=pool,
            description=f"One device's part of a round, on a {board}. Campaigns start it; nobody else has to.",
        )
        for pool, board in BOARDS.items()
    ),
)


async def provision(client: "PrefectClient") -> None:
    """Make pools, deployments and our automation, or make them what they should be."""
    from flows import automations

    for name, description in POOLS.items():
        await _pool(client, name, description)
    for deployed in DEPLOYED:
        await _deployment(client, deployed)
    await automations.provision(client)


async def _pool(client: "PrefectClient", name: str, description: str) -> None:
    """Make the pool, or give it back the template that takes nothing from anyone."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    from flows.worker import TEMPLATE, FedquadWorker

    try:
        found = await client.read_work_pool(name)
    except ObjectNotFound:
        made = WorkPoolCreate(name=name, type=FedquadWorker.type, description=description, base_job_template=TEMPLATE)
        await client.create_work_pool(made)
        return
    if found.base_job_template != TEMPLATE or found.description != description:
        await client.update_work_pool(name, WorkPoolUpdate(description=description, base_job_template=TEMPLATE))


async def _deployment(client: "PrefectClient", deployed: Deployed) -> None:
    """Make the deployment, or bring it up to date where it differs."""
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
    from prefect.exceptions import ObjectNotFound
    from prefect.utilities.callables import parameter_schema

    flow = registered.load(deployed.entrypoint)
    options = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.ENQUEUE) if deployed.limit else None
    wanted: dict[str, Any] = {
        "version": our_version(),
        "description": deployed.description,
        "entrypoint": deployed.entrypoint,
        "tags": list(deployed.tags),
        "work_pool_name": deployed.pool,
        "concurrency_limit": deployed.limit,
        "concurrency_options": options,
        "parameter_openapi_schema": parameter_schema(flow).model_dump(exclude_unset=True),
        "enforce_parameter_schema": True,
        "pull_steps": [],
        "job_variables": {},
    }
    try:
        found = await client.read_deployment_by_name(f"{flow.name}/{deployed.name}")
    except ObjectNotFound:
        await client.create_deployment(await client.create_flow(flow), deployed.name, **wanted)
        return
    if _differs(found, wanted):
        await client.update_deployment(found.id, DeploymentUpdate(**wanted))


def _differs(found: Any, wanted: dict[str, Any]) -> bool:
    limit = found.global_concurrency_limit
    is_other = any(getattr(found, key) != value for key, value in wanted.items() if key != "concurrency_limit")
    return is_other or (limit.limit if limit else None) != wanted["concurrency_limit"]


def our_version() -> str:
    """The version of this project, as installed."""
    try:
        return version("fedquad")
    except PackageNotFoundError:
        return "unknown"
