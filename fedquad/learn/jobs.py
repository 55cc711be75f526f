"""What a training process can be asked to do, as records; on the wire a job is one JSON object whose `op` names its record.

    to_json(Evaluate(adapter="sent-1f3a.safetensors", digest="1f3a...", split="test", start=0, stop=256, batch=64, prefix=0, prefix_bytes=0))
    {"op": "evaluate", "adapter": "sent-1f3a.safetensors", "digest": "1f3a...", "split": "test", ...}

Jobs name files by path and what is in them by digest; importing this costs no torch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias, TypeVar

from fedquad import wire
from fedquad.errors import DeviceError
from fedquad.spec import DataSpec, ModelSpec, TrainingSpec
from fedquad.types import Assignment

CHUNK = 256  # rows of an evaluation's job
SCORED_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Tokenise the data set into the cache, or find it there; the answer says where."""

    data: DataSpec
    model: ModelSpec
    seed: int
    cache: str
    folders: tuple[str, ...]  # partition `local`: each device's own, empty where it lies on the device itself
    labels: tuple[str, ...]  # partition `local`: what devices said that their examples have


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Load the model at the greatest rank of the campaign, and the tokenised splits; the answer is the model's layout, and cpu or cuda."""

    model: ModelSpec
    labels: int
    greatest_rank: int
    splits: Mapping[str, str]  # a split's name -> the file of its tokens
    threads: int
    objective: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Carry out one assignment; the delta goes to `out`, the rest of the update is the answer."""

    assignment: Assignment
    training: TrainingSpec
    adapter: str
    digest: str  # of the adapter
    shards: str  # the file that says which examples are whose
    key: tuple[int, ...]  # of all its randomness: seed, attempt, round, device
    round: int
    out: str

    @property
    def work(self) -> int:
        """Batches, forward and back."""
        return self.assignment.steps + self.assignment.local.probe_batches


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Carry out assignments that are alike in one stack; the answer holds theirs, in this order."""

    members: tuple[Train, ...]

    @property
    def work(self) -> int:
        return sum(member.work for member in self.members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Count right and wrong over rows [start, stop) of a split."""

    adapter: str
    digest: str  # of the adapter
    split: str
    start: int
    stop: int
    batch: int
    prefix: int  # layers, from below, whose output for an example is kept as long as nobody trains them
    prefix_bytes: int

    @property
    def work(self) -> int:
        """Rows."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Say how far apart two adapters' models are above their lowest `layers`, on the first rows of a split."""

    former: str
    former_digest: str
    adapter: str
    digest: str
    split: str
    rows: int
    layers: int

    @property
    def work(self) -> int:
        return 2 * self.rows


def evaluations(
    adapter: str, digest: str, split: str, first: int, last: int, prefix: int = 0, prefix_bytes: int = 0
) -> list[Evaluate]:
    """Rows [first, last) in chunks of one size wherever they are scored: their sums, added in this order, are the same to the bit."""
    return [
        Evaluate(
            adapter=adapter,
            digest=digest,
            split=split,
            start=start,
            stop=min(start + CHUNK, last),
            batch=SCORED_AT_ONCE,
            prefix=prefix,
            prefix_bytes=prefix_bytes,
        )
        for start in range(first, last, CHUNK)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """What a real device loads to take part in a campaign; its examples are its own."""

    model: ModelSpec
    data: DataSpec  # which columns are text, which the label
    objective: str
    labels: tuple[str, ...]  # of all devices together, in the order of the model's classes
    greatest_rank: int
    training: TrainingSpec
    backbone: str  # digest of the weights that the campaign trains on


Job: TypeAlias = Prepare | Open | Train | Cohort | Evaluate | Drift | Join
J = TypeVar("J", Prepare, Open, Train, Cohort, Evaluate, Drift, Join)
KINDS: tuple[type[Job], ...] = (Prepare, Open, Train, Evaluate, Join, Cohort, Drift)
OPS: dict[str, type[Job]] = {kind.__name__.lower(): kind for kind in KINDS}


def to_json(job: Job) -> dict[str, Any]:
    """A job as it travels."""
    return {"op": type(job).__name__.lower(), **asdict(job)}


def from_json(document: Mapping[str, Any]) -> Job:
    """The inverse of `to_json`; an unknown job, an unknown key and a missing one are refused."""
    op = document.get("op")
    if not isinstance(op, str) or op not in OPS:
        raise DeviceError(f"a job's op is {op!r}, but there are: {', '.join(OPS)}; its sender runs another version")
    try:
        return wire.from_json(OPS[op], {key: value for key, value in document.items() if key != "op"})
    except (TypeError, ValueError, AttributeError) as error:
        raise DeviceError(f"job {op!r} cannot be read: {error}; its sender runs another version") from error


def expect(kind: type[J], document: Mapping[str, Any]) -> J:
    """Read a job that must be of this kind."""
    job = from_json(document)
    if not isinstance(job, kind):
        raise DeviceError(f"job {document['op']!r} came where only {kind.__name__.lower()!r} is done")
    return job
