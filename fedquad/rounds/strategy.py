"""A method as a frozen record of functions, and the world it may know.

A strategy sees facts, never models, files or clocks. Only `plan` has no default, so that FedLoRA stays a page. A merge that is a
weighted sum is given as `weigh` and `apply`, which see one update at a time; a merge that needs more is given as `combine`,
which takes the answers as a stream in plan order. What a method remembers of an answer, a number a device say, it notes with
`note`, whichever way it merges and whether or not its merge read that answer.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from fedquad.prices.cost import CostModel
from fedquad.rounds import adapters, aggregate
from fedquad.rounds.aggregate import Totals, Weigh
from fedquad.spec import TrainingSpec
from fedquad.types import Adapter, Assignment, Ints, Memo, Report, ServerState, Statuses, Update

MemoryPolicy = Literal["strict", "flag"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """What a strategy may know besides the round: fixed for a campaign, the same for all its methods."""

    layers: int
    rank: int  # the campaign's LoRA rank r0
    cost: CostModel
    training: TrainingSpec
    examples: Ints  # per device
    rounds: int  # that the campaign will run at most
    memory_policy: MemoryPolicy = "strict"
    cohort: int = 0  # the most devices that train in one stack; 0: there are none
    suspend_rounds: int = 0  # for which a device sits out that was refused again and again
    steps: Ints = field(init=False)  # optimizer steps of each device's round: as specified, or one epoch

    def __post_init__(self) -> None:
        training = self.training
        examples = np.maximum(np.asarray(self.examples, dtype=np.int64), 1)  # who has none is asked, and says so
        epoch = -(-examples // training.batch)
        steps = epoch if training.steps is None else np.full_like(epoch, training.steps)
        object.__setattr__(self, "steps", steps)

    def learning_rate(self, round: int) -> float:
        """The rate of round `round`, from 1: constant inside a round, a cosine over the rounds (FedPETuning restarts it every call)."""
        if self.training.schedule == "constant":
            return self.training.learning_rate
        return 0.5 * self.training.learning_rate * (1 + float(np.cos(np.pi * (round - 1) / self.rounds)))


Answers = Iterable[tuple[Assignment, Update]]


def no_memo(master: Adapter, world: World) -> Memo:
    return {}


def no_survey(state: ServerState, statuses: Statuses, world: World) -> tuple[Assignment, ...]:
    return ()


def send_global(state: ServerState, assignment: Assignment, world: World) -> Adapter:
    return adapters.for_assignment(state.adapter, assignment)


def note_nothing(memo: Memo, assignment: Assignment, report: Report) -> Memo:
    return memo


def move_by_mean(state: ServerState, totals: Totals, world: World) -> ServerState:
    return replace(state, adapter=aggregate.mean(state.adapter, totals))


def global_adapter(state: ServerState, world: World) -> Adapter:
    return state.adapter


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strategy:
    """One method. `plan` decides who does what; everything else has the default most methods share."""

    plan: Callable[[ServerState, Statuses, World, np.random.Generator], tuple[Assignment, ...]]
    init: Callable[[Adapter, World], Memo] = no_memo
    survey: Callable[[ServerState, Statuses, World], tuple[Assignment, ...]] = no_survey  # to measure before planning
    send: Callable[[ServerState, Assignment, World], Adapter] = send_global  # what a device starts from
    weigh: Weigh = aggregate.uniform
    apply: Callable[[ServerState, Totals, World], ServerState] = move_by_mean
    combine: Callable[[ServerState, Answers, World], ServerState] | None = None  # instead of weigh and apply
    note: Callable[[Memo, Assignment, Report], Memo] = note_nothing  # what it remembers of one answer
    view: Callable[[ServerState, World], Adapter] = global_adapter  # what is evaluated and handed out
    memory_policy: MemoryPolicy = "strict"
    rank_factor: float = 1.0  # greatest rank it uses, relative to the campaign's
    may_rest: bool = False  # whether a round in which it asks nobody is a round all the same
    adapts_depth: bool = False  # whether it means to give unequal devices unequal depths

    def merge(self, state: ServerState, answers: Answers, world: World) -> ServerState:
        """The state after the answers, given in plan order."""
        if self.combine is not None:
            return self.combine(state, answers, world)
        weigh = aggregate.by_amount(self.weigh, world.training.weigh)
        return self.apply(state, aggregate.total(state.adapter, answers, weigh), world)

    def greatest_rank(self, rank: int) -> int:
        return max(rank, round(rank * self.rank_factor))
