"""Deal examples out to devices: indices only, from labels or a column's codes, the same for every method of a seed.

class_mix   equal sizes; device i's class mix is drawn from Dir(alpha * p), p the shares of all examples (FedPETuning's)
dirichlet   each class is cut by its own draw from Dir(alpha, ..., alpha) over the devices; sizes differ
iid         equal sizes, uniformly
column      whole groups (a user's examples stay together), the largest first to the device that has least
local       nobody deals: a device's examples are its own (`own`)
"""

from collections.abc import Sequence

import numpy as np

from fedquad import rng
from fedquad.errors import SpecError
from fedquad.types import Floats, Ints

DRAWS = 100  # a Dirichlet per class leaves devices empty now and then; draw anew so often before refusing


def partition(
    labels: Ints, devices: int, *, kind: str, alpha: float, seed: int, batch: int, columns: Ints | None
) -> tuple[Ints, ...]:
    """Return each device's examples, ascending; refuse a split that leaves a device less than one batch."""
    if len(labels) < devices * batch:
        raise SpecError(
            f"{len(labels)} training examples over {devices} devices leave less than one batch of {batch} each; "
            f"raise data.train to at least {devices * batch}, or lower training.batch or the fleet's size"
        )
    key = (seed, "partition", kind)
    if kind == "class_mix":
        parts = _class_mix(labels, devices, alpha, rng.stream(*key))
    elif kind == "iid":
        parts = _iid(len(labels), devices, rng.stream(*key))
    elif kind == "column":
        parts = _by_column(columns, devices, rng.stream(*key))
    elif kind == "dirichlet":
        draws = (_dirichlet(labels, devices, alpha, rng.stream(*key, draw)) for draw in range(DRAWS))
        parts = next((parts for parts in draws if _smallest(parts) >= batch), [])
        parts = parts or _dirichlet(labels, devices, alpha, rng.stream(*key, 0))
    else:
        raise SpecError(f"data.partition is {kind!r}, but there are: class_mix, dirichlet, iid, column")
    if _smallest(parts) < batch:
        sizes = [len(part) for part in parts]
        raise SpecError(
            f"partition {kind} leaves device {int(np.argmin(sizes))} with {min(sizes)} examples, less than a batch of "
            f"{batch}; raise data.train or data.alpha, or lower training.batch or the fleet's size"
        )
    return tuple(np.sort(part).astype(np.int64) for part in parts)


def own(sizes: Sequence[int]) -> tuple[Ints, ...]:
    """Each device's examples where those of all devices stand one after another: as many as it has, none too few."""
    ends = np.cumsum(sizes, dtype=np.int64)
    return tuple(np.arange(end - size, end, dtype=np.int64) for size, end in zip(sizes, ends))


def _smallest(parts: list[Ints]) -> int:
    return min(len(part) for part in parts)


def _iid(examples: int, devices: int, draw: np.random.Generator) -> list[Ints]:
    return list(draw.permutation(examples)[: examples // devices * devices].reshape(devices, -1))


def _class_mix(labels: Ints, devices: int, alpha: float, draw: np.random.Generator) -> list[Ints]:
    """Every device gets floor(N/n) examples; one whose class has run out takes from the others by its mix."""
    size = len(labels) // devices
    pools = [draw.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    left = np.array([len(pool) for pool in pools])
    mixes = draw.dirichlet(alpha * left / left.sum(), size=devices)
    parts: dict[int, Ints] = {}
    for device in draw.permutation(devices):  # the last are dealt what is left: not always the same devices
        counts = _counts(mixes[device], size, left, draw)
        taken = [pool[n - c : n] for pool, n, c in zip(pools, left, counts)]
        left = left - counts
        parts[int(device)] = np.concatenate(taken)
    return [parts[device] for device in range(devices)]


def _counts(mix: Floats, size: int, left: Ints, draw: np.random.Generator) -> Ints:
    """Draw how many of each class, never more than are left."""
    counts = np.zeros(len(left), np.int64)
    while (short := size - int(counts.sum())) > 0:
        room = left - counts
        weights = np.where(room > 0, mix, 0.0)
        if weights.sum() < 1e-12:  # its classes have run out, or a small alpha underflowed
            weights = room.astype(np.float64)
        counts += np.minimum(draw.multinomial(short, weights / weights.sum()), room)
    return counts


def _dirichlet(labels: Ints, devices: int, alpha: float, draw: np.random.Generator) -> list[Ints]:
    parts: list[list[Ints]] = [[] for _ in range(devices)]
    for label in np.unique(labels):
        members = draw.permutation(np.flatnonzero(labels == label))
        shares = draw.dirichlet(np.full(devices, alpha))
        cuts = np.floor(np.cumsum(shares)[:-1] * len(members)).astype(np.int64)
        for part, piece in zip(parts, np.split(members, cuts)):
            part.append(piece)
    return [np.concatenate(part) for part in parts]


def _by_column(codes: Ints | None, devices: int, draw: np.random.Generator) -> list[Ints]:
    if codes is None:
        raise SpecError("data.partition is 'column', but the training examples come without that column")
    groups, sizes = np.unique(codes, return_counts=True)
    if len(groups) < devices:
        raise SpecError(f"data.column has {len(groups)} values, too few for {devices} devices: each gets whole groups")
    shuffled = draw.permutation(len(groups))  # equal sizes fall in random order
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    owner = np.empty(len(groups), np.int64)
    load = np.zeros(devices, np.int64)
    for group in order:
        owner[group] = int(np.argmin(load))
        load[owner[group]] += sizes[group]
    device_of = owner[np.searchsorted(groups, codes)]
    return [np.flatnonzero(device_of == device) for device in range(devices)]
