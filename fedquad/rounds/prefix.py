"""The frozen prefix, paid once: what a device's lower layers make of an example is kept, and they need not run again.

A device that trains the top d layers runs the others only to compute what its lowest trained layer reads. `training.prefix` says
for how long that stays true:

    exact    while nothing below can have changed: within a round; with a `training.depth_cap` D, below which nobody trains, for ever
    stale    for `training.prefix_rounds` rounds K, or until a probe batch shows that what is kept has drifted further off than
             `training.prefix_drift`: meanwhile the layers below a device's own are sent as they were at the first of these rounds

A method that leaves layers out of some device's model trains from the bottom up: no cap holds for it, and `exact` with a cap steps
aside in such a round. So what a device keeps is exact in both, keyed by the example and what lies below; a `stale` campaign sends old layers, not old
activations. Of n examples, c of them kept, a round that draws m <= n of them anew finds m c / n and computes the rest.

What the server believes to be kept is in the state's memo (per device: how many, below which layers, since when), so that it is
priced, stopped and resumed like all else. Any method takes it: `remembered` wraps its functions.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedquad.rounds import acs, adapters
from fedquad.rounds.strategy import Answers, Strategy, World
from fedquad.spec import TrainingSpec
from fedquad.types import Adapter, Assignment, Floats, Ints, Memo, Report, ServerState, Statuses

OWN = "prefix."  # names in the memo that are not the method's
ANCHOR = f"{OWN}anchor."
MOST_ROUNDS_AHEAD = 50  # that ACS looks
# The round at which what is kept began to be right, as of the last round and of the next one; how high a prefix reached in the last;
# then a row a device: examples kept, below which layers, and since which round.
NOW, NEXT, TOP, KEPT, BELOW, SINCE = (f"{OWN}{name}" for name in ("now", "next", "top", "kept", "below", "since"))


def remembered(strategy: Strategy, training: TrainingSpec) -> Strategy:
    """The same method with its devices' prefixes paid once, as `training.prefix` says."""
    if training.prefix == "none":
        return strategy

    def init(master: Adapter, world: World) -> Memo:
        nobody = np.zeros(len(world.examples))
        memo = {
            **strategy.init(master, world),
            NOW: 0.0,
            NEXT: 1.0,
            TOP: 0.0,
            KEPT: nobody,
            BELOW: nobody,
            SINCE: nobody,
        }
        return {**memo, **_anchor(master, training)}

    def plan(state: ServerState, statuses: Statuses, world: World, rng: np.random.Generator) -> tuple[Assignment, ...]:
        return placed(strategy.plan(state, statuses, world, rng), state, world)

    def send(state: ServerState, assignment: Assignment, world: World) -> Adapter:
        fresh, former = strategy.send(state, assignment, world), anchored(state)
        if not assignment.prefix or former is None:
            return fresh
        old = strategy.send(replace(state, adapter=former), assignment, world)
        below = set(assignment.present[: assignment.prefix])
        return replace(
            fresh, layers={layer: (old if layer in below else fresh).layers[layer] for layer in fresh.layers}
        )

    def combine(state: ServerState, answers: Answers, world: World) -> ServerState:
        merged, now = strategy.merge(state, answers, world), float(state.memo[NEXT])
        own = {name: value for name, value in state.memo.items() if name.startswith(OWN)}
        ahead = replace(merged, memo={**merged.memo, **own, NOW: now, TOP: 0.0})
        return anew(ahead, state.round + 1, training) if _is_over(now, state.round + 1, world) else ahead

    def note(memo: Memo, assignment: Assignment, report: Report) -> Memo:
        noted = strategy.note(memo, assignment, report)
        noted = {**noted, **{name: memo[name] for name in memo if name.startswith(OWN)}}
        return _noted(noted, assignment, report.examples, training.batch)

    return replace(strategy, init=init, plan=plan, send=send, combine=combine, note=note)


def _is_over(began: float, round: int, world: World) -> bool:
    """Whether what was right since a round is no longer so after this one."""
    if world.training.prefix == "stale":
        return round - began + 1 >= world.training.prefix_rounds
    return not _is_fixed(world)


def anew(state: ServerState, round: int, training: TrainingSpec) -> ServerState:
    """The state after a round with which what was kept until then is over."""
    return replace(state, memo={**state.memo, NEXT: round + 1.0, **_anchor(state.adapter, training)})


def is_watched(state: ServerState, training: TrainingSpec) -> bool:
    """Whether a probe has to say how far off what devices keep is: there is a bound, and what they keep is for the next round too."""
    return bool(training.prefix_drift and state.memo[TOP] > 0 and state.memo[NEXT] == state.memo[NOW])


def after_probe(state: ServerState, drift: float | None, training: TrainingSpec) -> ServerState:
    """The state once a probe has said how far off what devices keep is."""
    return state if drift is None or drift <= training.prefix_drift else anew(state, state.round, training)


def top(state: ServerState) -> int:
    """The highest layer that the last round's prefixes went through, counted from below."""
    return int(state.memo[TOP])


def anchored(state: ServerState) -> Adapter | None:
    """The adapter whose lower layers a `stale` campaign sends below a device's own, with today's head."""
    anchor = {name.removeprefix(ANCHOR): value for name, value in state.memo.items() if name.startswith(ANCHOR)}
    return replace(state.adapter, layers=adapters.unflatten(anchor).layers) if anchor else None  # type: ignore[arg-type]


def cap(world: World) -> int:
    """The greatest depth that anybody may train."""
    return min(world.training.depth_cap or world.layers, world.layers)


def untrained(training: TrainingSpec, layers: int) -> int:
    """How many layers, from below, no device trains, if all prefixes end above them for ever; else 0."""
    return layers - min(training.depth_cap or layers, layers) if training.prefix == "exact" else 0


def _is_fixed(world: World) -> bool:
    """Whether all prefixes end at the same layer for ever."""
    return untrained(world.training, world.layers) > 0


def placed(assignments: Sequence[Assignment], state: ServerState, world: World) -> tuple[Assignment, ...]:
    """The assignments cut to `training.depth_cap`, with their prefix and how much of it is kept already."""
    if world.training.prefix == "none" or not assignments:
        return tuple(assignments)
    if _is_fixed(world) and any(len(one.present) < world.layers for one in assignments):
        return tuple(assignments)
    cut = [_cut(one, world) for one in assignments]
    held, devices = kept(state, world), np.array([one.device for one in cut])
    is_there = held.below[devices] == [boundary(one.present[: one.prefix]) for one in cut]
    there = np.where(is_there, held.examples[devices], 0.0)
    steps, examples = np.array([one.steps for one in cut]), np.asarray(world.examples)[devices]
    shares, _ = known(there, steps, examples, world.training.batch)
    return tuple(replace(one, known=float(share)) if one.prefix else one for one, share in zip(cut, shares))


def _cut(one: Assignment, world: World) -> Assignment:
    lowest = world.layers - cap(world)
    trained = tuple(layer for layer in one.trained if layer >= lowest)
    quantized = tuple(layer for layer in one.quantized if layer >= lowest)
    end = min(trained, default=world.layers)
    if _is_fixed(world):
        end = min(end, lowest)
    return replace(one, trained=trained, quantized=quantized, prefix=sum(layer < end for layer in one.present))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """What the server believes its devices keep this round, a row a device."""

    examples: Floats  # how many
    below: Floats  # `boundary` of the layers that they have been through
    rounds_left: int  # for which that stays right, this one counted


def kept(state: ServerState, world: World) -> Kept:
    number, now, training = state.round + 1, float(state.memo[NEXT]), world.training
    examples = np.where(np.asarray(state.memo[SINCE]) == now, state.memo[KEPT], 0.0)
    left = world.rounds - number + 1
    if training.prefix == "stale":
        left = min(left, int(now) + training.prefix_rounds - number)
    elif not _is_fixed(world):
        left = 1
    return Kept(examples=examples, below=np.asarray(state.memo[BELOW]), rounds_left=left)


def boundary(layers: Sequence[int]) -> float:
    """A number for the layers of a prefix, which a memo can hold; 0 for none."""
    return float(zlib.crc32(np.asarray(layers, dtype="<i4").tobytes())) if layers else 0.0


def draws(steps: Ints, examples: Ints, batch: int) -> tuple[Floats, Floats]:
    """How many examples so many steps read, and how many different ones."""
    passes, rest = np.divmod(steps, np.maximum(-(-examples // batch), 1))
    read = np.asarray(passes * examples + np.minimum(rest * batch, examples), dtype=np.float64)
    return read, np.minimum(read, examples)


def known(kept: Floats, steps: Ints, examples: Ints, batch: int) -> tuple[Floats, Floats]:
    """The share of a round's examples whose prefix is kept already, of how many; and how many are afterwards."""
    read, anew = draws(steps, examples, batch)
    computed = anew * (1 - kept / np.maximum(examples, 1))
    share: Floats = np.clip(1 - computed / np.maximum(read, 1), 0, 1)
    return np.where(read > 0, share, 0.0), kept + computed


def outlook(state: ServerState, statuses: Statuses, world: World, there: Ints) -> acs.Outlook | None:
    """What ACS may expect of prefixes: the mean share over the rounds for which what is kept now stays right."""
    if world.training.prefix == "none":
        return None
    layer = world.cost.flops
    held, steps, examples = kept(state, world), world.steps[there], np.asarray(world.examples)[there]
    ends = {boundary(range(world.layers - depth)): depth for depth in range(1, world.layers)}
    if _is_fixed(world):
        ends = {boundary(range(world.layers - cap(world))): cap(world)}
    depth = np.array([ends.get(below, 0) for below in held.below[there]])
    shares = []
    for start in (held.examples[there], np.zeros(len(there))):
        rounds, total = min(held.rounds_left, MOST_ROUNDS_AHEAD), np.zeros(len(there))
        for _ in range(rounds):
            share, start = known(start, steps, examples, world.training.batch)
            total += share
        shares.append(total / rounds)
    return acs.Outlook(
        layers=world.layers,
        fixed=cap(world) if _is_fixed(world) else 0,
        depth=depth,
        held=shares[0],
        fresh=shares[1],
        layer_seconds=steps * (layer.forward + layer.lora_forward) / statuses.flops[there],
    )


def _noted(memo: Memo, one: Assignment, examples: int, batch: int) -> Memo:
    """The memo once a device has been through its round."""
    if not one.prefix or not examples:
        return memo
    below, now, row = boundary(one.present[: one.prefix]), memo[NOW], slice(one.device, one.device + 1)
    counts, belows, since = (np.array(memo[name], dtype=np.float64) for name in (KEPT, BELOW, SINCE))
    there = np.where((since[row] == now) & (belows[row] == below), counts[row], 0.0)
    counts[row] = known(there, np.array([one.steps]), np.array([examples]), batch)[1]
    belows[row], since[row] = below, now
    highest = max(float(memo[TOP]), one.present[one.prefix - 1] + 1.0)
    return {**memo, TOP: highest, KEPT: counts, BELOW: belows, SINCE: since}


def _anchor(adapter: Adapter, training: TrainingSpec) -> Memo:
    """The layers as a `stale` campaign sends them below a device's own."""
    if training.prefix != "stale":
        return {}
    return {f"{ANCHOR}{name}": value for name, value in adapters.flatten(replace(adapter, head={})).items()}
