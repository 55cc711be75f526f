"""One round, cut at the network: plan, (the fleet trains), finish. Both halves are pure.

    statuses -> (survey) -> plan -> send -> train -> merge -> evaluate -> record

A device that fails, answers late or wrongly is a value with a reason, never an exception; a round in which fewer than the quorum
answered leaves the state as it was.

What a device's time is predicted from is corrected by what it took before (pace.py), before any method plans: all methods plan in
the devices' own seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from fedquad import rng
from fedquad.errors import MethodError
from fedquad.prices import cost
from fedquad.rounds import adapters, bounds, clock, cohorts, pace
from fedquad.rounds.ledger import Ledger
from fedquad.rounds.strategy import Strategy, World
from fedquad.types import Adapter, Assignment, CostEstimate, ServerState, Statuses, Update

OFFENCES = 2  # rounds running in which a device is refused before it is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one device was asked to measure before planning, and how that went."""

    assignment: Assignment
    estimate: CostEstimate
    seconds: float
    failure: str = ""
    is_refused: bool = False  # of those that failed: not lost, but not let in


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Who does what this round, what it should cost, and who is not asked because it would not fit."""

    round: int
    attempt: int
    assignments: tuple[Assignment, ...]
    estimates: tuple[CostEstimate, ...]
    refused: Mapping[int, str]  # device -> why it is not asked (strict memory)
    over_memory: tuple[int, ...]  # devices whose assignment or survey exceeds their memory
    survey: tuple[Probe, ...] = ()  # what was measured before planning
    cohorts: tuple[tuple[int, ...], ...] = ()  # devices that train in one stack

    @property
    def cohort_of(self) -> Mapping[int, int]:
        """The number of each device's cohort; who is in none trains alone."""
        return {device: number for number, cohort in enumerate(self.cohorts) for device in cohort}

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
    prefixes: Mapping[int, tuple[int, int]]  # hits and misses of those who had one
    answered: int
    is_quorate: bool
    unsound: str = ""  # why a merged adapter was not taken


def begin(strategy: Strategy, master: Adapter, world: World) -> ServerState:
    """The state before the first round: the master adapter at the greatest rank the method uses."""
    rank = strategy.greatest_rank(world.rank)
    adapter = adapters.cut(master, master.layers, [rank] * len(master.layers))
    return ServerState(
        round=0,
        adapter=adapter,
        memo=strategy.init(adapter, world),
        gradient_norms=np.full(world.layers, np.nan),
        pace=np.full(len(world.examples), np.nan),
        mean_seconds=0.0,
        clock_seconds=0.0,
        norms=bounds.nothing_yet(world.layers),
        offences=np.zeros(len(world.examples), dtype=np.int64),
        suspended=np.zeros(len(world.examples), dtype=np.int64),
    )


def without_suspended(statuses: Statuses, state: ServerState) -> Statuses:
    """Leave out who was refused again and again, unless nobody else is there."""
    there = statuses.available & (state.suspended <= state.round)
    return replace(statuses, available=there) if there.any() else statuses


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
    surveyed: tuple[Probe, ...] = (),
) -> Plan:
    """Let the method plan, check that the plan keeps its contract, and price every assignment."""
    number, own = state.round + 1, pace.in_own_seconds(statuses, state.pace)
    assignments = tuple(strategy.plan(state, own, world, rng.stream(seed, attempt, number, "plan")))
    if not world.cost.head_bytes:  # a frozen head: whoever trains no layer has nothing to learn, and sits out
        assignments = tuple(a for a in assignments if a.trained)
    check_plan(assignments, statuses, world)
    estimates = tuple(cost.estimate(a, world.cost, own[a.device]) for a in assignments)
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
        over_memory=tuple(sorted(over | _over_memory(((p.assignment, p.estimate) for p in surveyed), statuses))),
        survey=surveyed,
        cohorts=cohorts.compose([a for a in assignments if a.device not in refused], world.cohort),
    )


def plan_survey(
    strategy: Strategy, state: ServerState, statuses: Statuses, world: World
) -> tuple[tuple[Assignment, CostEstimate], ...]:
    """What the method wants measured before it plans, priced; under strict memory only what fits."""
    own = pace.in_own_seconds(statuses, state.pace)
    wanted = tuple(strategy.survey(state, own, world))
    check_plan(wanted, statuses, world, least_steps=0)
    priced = tuple((a, cost.estimate(a, world.cost, own[a.device])) for a in wanted)
    over = _over_memory(priced, statuses) if world.memory_policy == "strict" else set()
    return tuple((a, e) for a, e in priced if a.device not in over)


def surveyed(
    statuses: Statuses, asked: Iterable[tuple[Assignment, CostEstimate]], updates: Iterable[Update]
) -> tuple[Statuses, tuple[Probe, ...]]:
    """The statuses with what was measured under `signals`, and how each probe went."""
    signals: dict[str, np.ndarray] = {}
    probes = []
    for (assignment, estimate), update in zip(asked, updates, strict=True):
        report = update.report
        probe = Probe(assignment=assignment, estimate=estimate, seconds=report.seconds, failure=report.failure)
        probes.append(replace(probe, is_refused=update.is_refused))
        for name, values in update.signals.items():
            table = signals.setdefault(name, np.full((len(statuses), len(values)), np.nan))
            table[assignment.device] = values
    return replace(statuses, signals=signals), tuple(probes)


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
    world: World,
    *,
    quorum: float,
) -> Outcome:
    """Merge the updates, given in plan order, into the next state; each is read twice, so that not all need to be in memory.

    `sent` maps each device to the digest of what it started from. Without a quorum, or when what was merged is not sound, the
    adapter stays as it was; only time passes.
    """
    updates = tuple(updates) if iter(updates) is updates else updates
    ledger, bound = Ledger(), world.training.update_bound
    ledger.read(plan.asked, plan.round, state.adapter, sent, updates, state.norms, bound)
    answers = ledger.answers(plan.asked, updates)
    merged = strategy.merge(state, answers, world)
    for _ in answers:  # what a merge left unread is looked at all the same
        pass
    rests = strategy.may_rest and not plan.assignments
    is_quorate = rests or (len(ledger.accepted) > 0 and len(ledger.accepted) >= quorum * plan.size)
    greatest = max((one.norm for one in ledger.accepted), default=0.0)
    unsound = bounds.unsound(merged.adapter, state.adapter, greatest) if is_quorate else ""
    timing = _timing(plan, ledger)
    after = replace(state, clock_seconds=state.clock_seconds + timing.round_seconds)
    if is_quorate and not unsound:
        after = _next(strategy, state, merged, plan, ledger, timing)
        if rests:
            after = replace(after, mean_seconds=state.mean_seconds)
    after = _watched(after, plan, ledger, world.suspend_rounds)
    return Outcome(
        state=after,
        timing=timing,
        failures={**plan.refused, **ledger.failures},
        seconds=ledger.seconds,
        losses={one.assignment.device: one.report.loss for one in ledger.accepted},
        prefixes={
            one.assignment.device: (one.report.hits, one.report.misses)
            for one in ledger.accepted
            if one.assignment.prefix
        },
        answered=len(ledger.accepted),
        is_quorate=is_quorate and not unsound,
        unsound=unsound,
    )


def _next(
    strategy: Strategy, state: ServerState, merged: ServerState, plan: Plan, ledger: Ledger, timing: clock.Timing
) -> ServerState:
    """The state after a round that counts."""
    memo = merged.memo
    for one in ledger.accepted:
        memo = strategy.note(memo, one.assignment, one.report)
    shown = ((one.estimate, one.report.seconds, one.assignment.device) for one in ledger.accepted)
    return replace(
        merged,
        round=plan.round,
        memo=memo,
        gradient_norms=ledger.mean_norms(state.gradient_norms),
        pace=pace.after(state.pace, shown),
        mean_seconds=timing.mean_seconds,
        clock_seconds=state.clock_seconds + timing.round_seconds,
        norms=bounds.remember(state.norms, [one.measures for one in ledger.accepted]),
    )


def _watched(state: ServerState, plan: Plan, ledger: Ledger, suspend_rounds: int) -> ServerState:
    """Count who was refused; whoever was in two rounds running sits out the next ones, if the fleet is to be so strict."""
    refused = ledger.refused | {probe.assignment.device for probe in plan.survey if probe.is_refused}
    offences, suspended = state.offences.copy(), state.suspended.copy()
    offences[[one.assignment.device for one in ledger.accepted]] = 0
    for device in refused:
        offences[device] += 1
        if suspend_rounds and offences[device] >= OFFENCES:
            offences[device], suspended[device] = 0, plan.round + suspend_rounds
    return replace(state, offences=offences, suspended=suspended)


def _timing(plan: Plan, ledger: Ledger) -> clock.Timing:
    """The round's time: a survey lasts until its last answer too, and comes before."""
    trained = clock.barrier(list(ledger.seconds.values()), [one not in ledger.failures for one in ledger.seconds])
    surveyed = clock.barrier([probe.seconds for probe in plan.survey], [not probe.failure for probe in plan.survey])
    return clock.Timing(
        round_seconds=trained.round_seconds + surveyed.round_seconds,
        mean_seconds=trained.mean_seconds + surveyed.mean_seconds,
        mean_wait_seconds=trained.mean_wait_seconds + surveyed.mean_wait_seconds,
    )
