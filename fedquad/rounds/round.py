"""One round, cut at the network: plan, (the fleet trains), finish. Both halves are pure.

    statuses -> (survey) -> plan -> send -> train -> merge -> evaluate -> record

A device that fails, answers late or wrongly is a value with a reason, never an exception; a round in which fewer than the quorum
answered leaves the state as it was.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fedquad import rng
from fedquad.errors import MethodError
from fedquad.prices import cost
from fedquad.rounds import adapters, clock
from fedquad.rounds.refuse import refusal
from fedquad.rounds.strategy import Strategy, World
from fedquad.types import Adapter, Assignment, CostEstimate, Floats, ServerState, Statuses, Update


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Who does what this round, what it should cost, and who is not asked because it would not fit."""

    round: int
    attempt: int
    assignments: tuple[Assignment, ...]
    estimates: tuple[CostEstimate, ...]
    refused: Mapping[int, str]  # device -> why it is not asked (strict memory)
    over_memory: tuple[int, ...]  # devices whose assignment or survey exceeds their memory
    survey: tuple[tuple[Assignment, CostEstimate], ...] = ()  # what was measured before planning, priced

    @property
    def size(self) -> int:
        """How many devices are asked."""
        return len(self.assignments) - len(self.refused)

    @property
    def asked(self) -> tuple[tuple[Assignment, CostEstimate], ...]:
        """What is sent out, in plan order."""
        return tuple((a, e) for a, e in zip(self.assignments, self.estimates) if a.device not in self.refused)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What a round came to: the next state, and per device why there is no update."""

    state: ServerState
    timing: clock.Timing
    failures: Mapping[int, str]
    seconds: Mapping[int, float]
    losses: Mapping[int, float]
    answered: int
    is_quorate: bool


def begin(strategy: Strategy, master: Adapter, world: World) -> ServerState:
    """The state before the first round: the master adapter at the greatest rank the method uses."""
    rank = strategy.greatest_rank(world.rank)
    adapter = adapters.cut(master, master.layers, [rank] * len(master.layers))
    return ServerState(
        round=0,
        adapter=adapter,
        memo=strategy.init(adapter, world),
        gradient_norms=np.ones(world.layers),
        mean_seconds=0.0,
        clock_seconds=0.0,
    )


def sample(statuses: Statuses, participation: float, seed: int, round: int) -> Statuses:
    """Ask a share of the available devices, drawn from (seed, round), whatever the method: at least one."""
    there = np.flatnonzero(statuses.available)
    count = min(len(there), max(1, round_half_up(participation * len(there))))
    if count == len(there):
        return statuses
    chosen = rng.stream(seed, round, "participation").choice(there, size=count, replace=False)
    available = np.zeros(len(statuses), dtype=bool)
    available[chosen] = True
    return replace(statuses, available=available)


def round_half_up(value: float) -> int:
    return int(np.floor(value + 0.5))


def plan_round(
    strategy: Strategy,
    state: ServerState,
    statuses: Statuses,
    world: World,
    *,
    seed: int,
    attempt: int = 0,
    surveyed: tuple[tuple[Assignment, CostEstimate], ...] = (),
) -> Plan:
    """Let the method plan, check that the plan keeps its contract, and price every assignment."""
    number = state.round + 1
    assignments = tuple(strategy.plan(state, statuses, world, rng.stream(seed, attempt, number, "plan")))
    check_plan(assignments, statuses, world)
    estimates = tuple(cost.estimate(a, world.cost, statuses[a.device]) for a in assignments)
    over = _over_memory(zip(assignments, estimates), statuses)
    refused = {}
    if world.memory_policy == "strict":
        refused = {
            a.device: f"its configuration needs {e.peak_bytes:,} bytes, but {statuses.memory_bytes[a.device]:,} are free"
            for a, e in zip(assignments, estimates)
            if a.device in over
        }
    return Plan(
        round=number,
        attempt=attempt,
        assignments=assignments,
        estimates=estimates,
        refused=refused,
        over_memory=tuple(sorted(over | _over_memory(surveyed, statuses))),
        survey=surveyed,
    )


def plan_survey(
    strategy: Strategy, state: ServerState, statuses: Statuses, world: World
) -> tuple[tuple[Assignment, CostEstimate], ...]:
    """What the method wants measured before it plans, priced; under strict memory only what fits."""
    wanted = tuple(strategy.survey(state, statuses, world))
    check_plan(wanted, statuses, world, least_steps=0)
    priced = tuple((a, cost.estimate(a, world.cost, statuses[a.device])) for a in wanted)
    over = _over_memory(priced, statuses) if world.memory_policy == "strict" else set()
    return tuple((a, e) for a, e in priced if a.device not in over)


def _over_memory(priced: Iterable[tuple[Assignment, CostEstimate]], statuses: Statuses) -> set[int]:
    return {a.device for a, e in priced if e.peak_bytes > statuses.memory_bytes[a.device]}


def check_plan(assignments: Iterable[Assignment], statuses: Statuses, world: World, least_steps: int = 1) -> None:
    """Refuse a plan no device could carry out: the fault is the method's, so it ends the arm."""
    seen: set[int] = set()
    for a in assignments:
        present = set(a.present)
        for holds, what in (
            (a.device not in seen, "is planned twice"),
            (0 <= a.device < len(statuses) and bool(statuses.available[a.device]), "is not available this round"),
            (
                list(a.present) == sorted(present) and present <= set(range(world.layers)),
                f"has present layers {a.present}",
            ),
            (set(a.trained) <= present, f"trains layers {a.trained}, which are not all present"),
            (set(a.quantized) <= set(a.trained), f"quantizes layers {a.quantized}, which it does not train"),
            (
                len(a.ranks) == len(a.present) and min(a.ranks, default=1) >= 1,
                f"has ranks {a.ranks} for {len(present)} layers",
            ),
            (a.steps >= least_steps, f"has {a.steps} steps"),
        ):
            if not holds:
                raise MethodError(f"round plan: device {a.device} {what}")
        seen.add(a.device)


def finish_round(
    strategy: Strategy,
    state: ServerState,
    plan: Plan,
    sent: Mapping[int, str],
    updates: Iterable[Update],
    *,
    quorum: float,
) -> Outcome:
    """Merge the updates, given in plan order and read one at a time, into the next state.

    `sent` maps each device to the digest of what it started from. Without a quorum the adapter stays as it was; only time passes.
    """
    ledger = _Ledger()
    merged = strategy.merge(state, ledger.accept(plan, state, sent, updates))
    asked = len(plan.asked)
    rests = strategy.may_rest and not plan.assignments
    is_quorate = rests or (ledger.answered > 0 and ledger.answered >= quorum * asked)
    timing = clock.barrier(list(ledger.seconds.values()), [device not in ledger.failures for device in ledger.seconds])
    surveyed = clock.barrier([e.seconds for _, e in plan.survey], [True] * len(plan.survey))
    timing = clock.Timing(
        round_seconds=timing.round_seconds + surveyed.round_seconds,
        mean_seconds=timing.mean_seconds + surveyed.mean_seconds,
        mean_wait_seconds=timing.mean_wait_seconds + surveyed.mean_wait_seconds,
    )
    elapsed = state.clock_seconds + timing.round_seconds
    after = replace(state, clock_seconds=elapsed)
    if is_quorate:
        after = replace(
            merged,
            round=plan.round,
            gradient_norms=ledger.mean_norms(state.gradient_norms),
            mean_seconds=state.mean_seconds if rests else timing.mean_seconds,
            clock_seconds=elapsed,
        )
    failures = {**plan.refused, **ledger.failures}
    return Outcome(
        state=after,
        timing=timing,
        failures=failures,
        seconds=ledger.seconds,
        losses=ledger.losses,
        answered=ledger.answered,
        is_quorate=is_quorate,
    )


@dataclass(slots=True)
class _Ledger:
    """Notes of one pass over the updates."""

    answered: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    losses: dict[int, float] = field(default_factory=dict)
    norms: dict[int, list[float]] = field(default_factory=dict)

    def accept(
        self, plan: Plan, state: ServerState, sent: Mapping[int, str], updates: Iterable[Update]
    ) -> Iterator[tuple[Assignment, Update]]:
        """Pass on the updates that answer their assignments; write down why the others do not."""
        for (assignment, estimate), update in zip(plan.asked, updates, strict=True):
            device = assignment.device
            reason = update.report.failure or refusal(update, assignment, plan.round, sent[device], state.adapter)
            self.seconds[device] = update.report.seconds or estimate.seconds
            if reason:
                self.failures[device] = reason
                continue
            self.answered += 1
            self.losses[device] = update.report.loss
            for layer, norm in update.gradient_norms.items():
                self.norms.setdefault(layer, []).append(norm)
            yield assignment, update

    def mean_norms(self, before: Floats) -> Floats:
        """g_l: mean over the holders; a layer nobody trained keeps its last value, else it would never return (decision 8)."""
        norms = before.copy()
        for layer, values in self.norms.items():
            norms[layer] = np.mean(values)
        return norms
