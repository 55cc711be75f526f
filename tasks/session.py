"""What a running campaign holds in memory: its folder, its training processes, its fleet; and what an arm at work holds.

Plain classes, not records: Prefect looks into every dataclass, list and dict that a task is given, and leaves these alone.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from fedquad.learn.jobs import Open
from fedquad.objective import Metric
from fedquad.prices.cost import CostModel
from fedquad.rounds.facts import LOCKED_ROUNDS, Scores
from fedquad.rounds.strategy import Strategy, World
from fedquad.spec import CampaignSpec
from fedquad.store.arm import OpenArm
from fedquad.store.campaign import CampaignFolder
from fedquad.store.spool import Spool
from fedquad.types import Adapter, ModelLayout, ServerState
from tasks.engine import Engine
from tasks.fleet import DeviceFleet

if TYPE_CHECKING:
    from tasks.office import Office  # imports prefect
    from tasks.track import Tracker  # imports prefect, which a session is prepared without


class Session:
    """A campaign at work."""

    def __init__(self, folder: CampaignFolder, spec: CampaignSpec, pool: Engine) -> None:
        self.folder = folder
        self.spec = spec
        self.pool = pool
        self.preparing: asyncio.Future[None] | None = None  # who makes it ready beside the flow's beginning
        self.tracker: Tracker
        self.held = AsyncExitStack()  # what ends with the session: the way to real devices
        self.office: Office | None = None  # of a fleet with real devices
        self.labels: tuple[str, ...] = ()  # that those said their examples have
        self.opening: Open  # the job that loads model and data into a training process
        self.layout: ModelLayout
        self.cost: CostModel
        self.metric: Metric  # what its arms are judged by
        self.data: dict[str, Any]  # what `learn.tokens.prepare` answered
        self.inputs: dict[str, str] = {}  # digests of what all arms are computed from, besides their seed's
        self.seeds: dict[int, Seed] = {}


class Seed:
    """What all arms of a seed share, so that they compare: the master adapter, the split, the fleet and its trace."""

    def __init__(
        self, seed: int, master: Adapter, shards: Path, examples: Any, fleet: DeviceFleet, digests: dict[str, str]
    ) -> None:
        self.seed = seed
        self.master = master
        self.shards = shards
        self.examples = examples
        self.fleet = fleet
        self.digests = digests
        self.start: dict[str, float | None] = {}  # how the master adapter scores, once it is known
        self.scoring = asyncio.Lock()  # two arms of the seed begin side by side


class Judge(Protocol):
    """Whoever scores what a method hands out."""

    async def score(self, path: str, digest: str) -> Scores: ...

    async def drift(self, former: tuple[str, str], adapter: tuple[str, str], layers: int) -> float: ...


@dataclass(frozen=True, slots=True)
class Records:
    """What Prefect holds of one round."""

    task_runs: list[UUID] = field(default_factory=list)
    artifacts: list[UUID] = field(default_factory=list)


class Arm:
    """One method on one seed, at work."""

    def __init__(
        self,
        *,
        campaign: str,
        spec: CampaignSpec,
        layout: ModelLayout,
        label: str,
        method: str,
        shared: Seed,
        strategy: Strategy,
        world: World,
        state: ServerState,
        folder: OpenArm,
        spool: Spool,
        judge: Judge,
    ) -> None:
        self.campaign = campaign
        self.spec = spec
        self.layout = layout
        self.label = label
        self.method = method
        self.shared = shared
        self.seed = shared.seed
        self.strategy = strategy
        self.world = world
        self.state = state
        self.folder = folder
        self.spool = spool
        self.judge = judge
        self.progress: UUID | None = None  # of its progress artifact
        self.records: defaultdict[int, Records] = defaultdict(Records)  # by round; see flows/forget.py
        self.recent: deque[dict[str, Any]] = deque(maxlen=LOCKED_ROUNDS)  # facts of the last rounds
        self.told: dict[int, Mapping[str, Any]] = {}  # how each device's last answer came
        self.is_warned = False  # that all its devices have one depth

    @property
    def name(self) -> str:
        return f"{self.label}-s{self.seed}"

    @property
    def number(self) -> int:
        """The round that is next, from 1."""
        return self.state.round + 1


CURRENT: ContextVar[Session] = ContextVar("fedquad_session")
