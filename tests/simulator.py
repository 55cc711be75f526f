"""Whole arms in a simulator: the product's own round, with a fleet, a store and a network that do what a seed says.

    arm = Simulation(seed=7)
    arm.run()                       # raises Broken, naming the seed, the round and the invariant

One seed draws the campaign (method, devices, layers, quorum, participation) and, swarm style, which faults there are in it at all and
how often each comes: a device lost, late, with damaged bytes, with NaN, with a huge or a stale update or another device's, answering
twice, with a clock that jumps; a store that is full; a kill between any two steps. Answers are bytes, checked by the product's gate.
Time is virtual and nothing waits, so that a round takes milliseconds.

After each round: what was committed never changes; each device counts once; whoever answered rightly counts; the state is the one that
the accepted updates give when everything goes well; and an arm ends, or says rightly that it is below its quorum.
"""

import json
import random
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from fleet_of_three import layout, statuses
from pretend import METHODS
from safetensors.numpy import save

from fedquad import discover, rng, wire
from fedquad.errors import ArmFailedError, StoreError
from fedquad.prices.cost import cost_model
from fedquad.prices.shapes import SHAPES
from fedquad.rounds import adapters, facts
from fedquad.rounds import round as rounds
from fedquad.rounds.admit import Asked, admitted
from fedquad.rounds.prefix import remembered
from fedquad.rounds.strategy import World
from fedquad.spec import CostSpec, ModelSpec, TrainingSpec
from fedquad.types import Adapter, Assignment, Lora, Report, ServerState, Statuses, Update
from tasks.round import Steps, play

FAULTS = ("lost", "late", "cut", "flipped", "nan", "huge", "stale", "foreign", "twice", "clock", "liar")
STOPS = ("kill", "full")
STEPS = ("collect", "survey", "configure", "dispatch", "aggregate", "evaluate", "record")
SCORES = facts.Scores(score=0.5, loss=1.0, validation_score=0.5, validation_loss=1.0)


class Broken(AssertionError):
    """An invariant that does not hold."""


class Killed(BaseException):
    """The process is gone; what was committed is all there is."""


class Memory:
    """A store of committed rounds."""

    def __init__(self) -> None:
        self.states: list[ServerState] = []
        self.facts: list[dict[str, Any]] = []
        self.digests: list[str] = []

    def commit(self, state: ServerState, document: dict[str, Any]) -> None:
        self.states.append(state)
        self.facts.append(json.loads(json.dumps(document, allow_nan=False)))
        self.digests.append(facts.state_digest(state))


class Answers:
    """Answers in memory, through the same checks as those on a disk."""

    def __init__(self, asked: tuple[Asked, ...], left: dict[int, tuple[bytes, bytes]]) -> None:
        self.asked, self.left = asked, left

    def __iter__(self) -> Iterator[Update]:
        return (self._one(one) for one in self.asked)

    def _one(self, one: Asked) -> Update:
        try:
            return admitted(*self.left[one.assignment.device], one)
        except Exception as error:
            device = one.assignment.device
            return wire.failed(device, one.round, one.sent, str(error) or "?", one.waited, is_refused=True)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run what never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise Broken("a step waited for something")


class Simulation:
    """One arm, from its beginning to its end, with everything that happens to it on the way."""

    def __init__(self, seed: int, faults: bool = True) -> None:
        self.seed, self.dice = seed, random.Random(seed)
        dice = self.dice
        self.method, layers, devices = dice.choice(METHODS), dice.choice((3, 4, 6)), dice.randint(1, 8)
        cost = cost_model(
            replace(SHAPES["roberta-base"], layers=layers),
            ModelSpec(),
            TrainingSpec(),
            CostSpec(batch=8, sequence=32),
            labels=3,
        )
        kept = dice.choice(({}, {}, {"prefix": "stale", "prefix_rounds": 2}, {"prefix": "exact", "depth_cap": 2}))
        training = TrainingSpec(steps=3, learning_rate=1e-2, **kept)
        self.made = remembered(discover.strategy(self.method), training)
        self.spec = SimpleNamespace(
            quorum=dice.choice((0.25, 0.5, 0.75)), participation=dice.choice((0.4, 1.0, 1.0)), rounds=dice.randint(2, 6)
        )
        self.world = World(
            layers=layers,
            rank=4,
            cost=cost,
            training=training,
            examples=np.full(devices, 24),
            rounds=self.spec.rounds,
            memory_policy=self.made.memory_policy,
            suspend_rounds=dice.choice((0, 0, 2)),
        )
        least = cost.constants.m_f + cost.constants.m_o
        self.memory = [int(least + dice.random() * layers * cost.constants.m_o) for _ in range(devices)]
        self.speed = [10 ** dice.uniform(11, 12.5) for _ in range(devices)]
        on = [fault for fault in (*FAULTS, *STOPS) if faults and dice.random() < 0.4]
        self.odds = {fault: dice.choice((0.02, 0.1, 0.3)) for fault in on}
        self.store = Memory()
        self.right: dict[int, tuple[bytes, bytes]] = {}  # of the round in progress
        self.before: dict[int, tuple[bytes, bytes]] = {}  # of the round before
        self.touched: dict[int, str] = {}
        self.clean = 0  # rounds whose state was compared
        self.stops = 0
        self.arm = self.opened()

    def opened(self) -> Any:
        """The arm as it is found after a start: its last committed state."""
        master = adapters.initial(layout(layers=self.world.layers, width=4), 8, self.seed)
        begun = rounds.begin(self.made, master, self.world)
        return SimpleNamespace(
            state=self.store.states[-1] if self.store.states else begun,
            strategy=self.made,
            world=self.world,
            spec=self.spec,
            seed=self.seed,
        )

    def happens(self, fault: str) -> bool:
        return self.dice.random() < self.odds.get(fault, 0.0)

    # ---- the steps

    def steps(self) -> Steps:
        def guarded(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
            async def one(*given: Any) -> Any:
                if self.happens("kill"):
                    raise Killed(name)
                return step(*given)

            return one

        return Steps(**{name: guarded(name, getattr(self, name)) for name in STEPS})

    def collect(self, arm: Any) -> Statuses:
        there = rounds.without_suspended(statuses(self.memory, self.speed), arm.state)
        return rounds.sample(there, self.spec.participation, self.seed, arm.state.round + 1)

    def survey(self, arm: Any, there: Statuses, attempt: int) -> Any:
        asked = rounds.plan_survey(self.made, arm.state, there, self.world)
        return rounds.surveyed(there, asked, self.ask(arm, asked, attempt)) if asked else (there, ())

    def configure(self, arm: Any, there: Statuses, attempt: int, probes: Any) -> rounds.Plan:
        return rounds.plan_round(
            self.made, arm.state, there, self.world, seed=self.seed, attempt=attempt, surveyed=probes
        )

    def dispatch(self, arm: Any, plan: rounds.Plan) -> Answers:
        return self.ask(arm, plan.asked, plan.attempt)

    def aggregate(self, arm: Any, plan: rounds.Plan, answers: Answers) -> rounds.Outcome:
        sent = {one.assignment.device: one.sent for one in answers.asked}
        done = rounds.finish_round(self.made, arm.state, plan, sent, answers, self.world, quorum=self.spec.quorum)
        self.check_outcome(plan, done)
        if done.is_quorate:
            self.check_clean(arm, plan, answers, done)
        return done

    def evaluate(self, arm: Any, outcome: rounds.Outcome) -> facts.Scores:
        self.made.view(outcome.state, self.world)
        return SCORES

    def record(self, arm: Any, plan: Any, there: Statuses, outcome: rounds.Outcome, scores: Any, walls: Any) -> Any:
        if self.happens("full"):
            raise StoreError("the disk is full")
        found = facts.round_facts(plan, outcome, there, scores, walls)
        self.store.commit(outcome.state, found.to_json())
        if self.happens("kill"):
            raise Killed("after the commit")
        arm.state = outcome.state
        return found

    # ---- the fleet

    def ask(self, arm: Any, asked: Iterable[tuple[Assignment, Any]], attempt: int) -> Answers:
        """What every device leaves, and what becomes of it on the way."""
        number, expected, left = arm.state.round + 1, [], {}
        self.before, self.right, self.touched = self.right or self.before, {}, {}
        for assignment, priced in asked:
            start = self.made.send(arm.state, assignment, self.world)
            digest, device = adapters.digest(start), assignment.device
            seconds = priced.seconds * (1 + 9 * self.happens("late"))
            one = Asked(assignment=assignment, round=number, sent=digest, like=arm.state.adapter, waited=seconds)
            expected.append(one)
            self.right[device] = left[device] = answer(self.seed, attempt, one, start, seconds)
        for one in expected:
            left[one.assignment.device] = self.fate(one, left)
        return Answers(tuple(expected), left)

    def fate(self, one: Asked, left: dict[int, tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
        """What is found of a device's answer."""
        device = one.assignment.device
        for fault in FAULTS:
            if fault != "late" and self.happens(fault):
                found: tuple[bytes, bytes] = getattr(self, f"_{fault}")(one, *left[device])
                if found != left[device]:
                    self.touched[device] = fault
                return found
        return left[device]

    def _lost(self, one: Asked, document: bytes, tensors: bytes) -> tuple[bytes, bytes]:
        gone = wire.failed(one.assignment.device, one.round, one.sent, "it never answered", one.waited)
        return json.dumps(wire.answer(gone)[0]).encode(), b""

    def _cut(self, one: Asked, document: bytes, tensors: bytes) -> tuple[bytes, bytes]:
        return document, tensors[: self.dice.randrange(len(tensors) + 1)]

    def _flipped(self, one: Asked, document: bytes, tensors: bytes) -> tuple[bytes, bytes]:
        data = bytearray(tensors if tensors and self.dice.random() < 0.5 else document)
        is_tensors = bytes(data) == tensors
        data[self.dice.randrange(len(data))] ^= 1 << self.dice.randrange(8)
        return (document, bytes(data)) if is_tensors else (bytes(data), tensors)

    def _nan(self, one: Asked, document: bytes, tensors: bytes) -> tuple[bytes, bytes]:
        return self._other_numbers(one, document, np.float32(self.dice.choice((np.nan, np.inf))))

    def _huge(self, one: Asked, document: bytes, tensors: bytes) -> tuple[bytes, bytes]:
        return self._other_numbers(one, document, np.float32(self.dice.choice((3e38, 1e10, 1e5))))

    def _other_numbers(self, one: Asked, document: bytes, value: np.float32) -> tuple[bytes, bytes]:
        if one.probe:
            return document.replace(b'"signals": {', b'"signals": {"x": [1], ', 1), b""
        delta = replace(trained(self.seed, 0, one, one.like, 1.0), digest="")
        filled = {name: np.full_like(array, value) for name, array in adapters.flatten(delta.delta).items()}
        said = {**json.loads(document), "delta": adapters.tensors_digest(filled)}
        return json.dumps(said).encode(), save(filled)

    def _stale(self, one: Asked, document: bytes, tensors: bytes) -> tuple[bytes, bytes]:
        return self.before.get(one.assignment.device, (document, tensors))

    def _foreign(self, one: Asked, document: bytes, tensors: bytes) -> tuple[bytes, bytes]:
        return self.right[self.dice.choice(sorted(self.right))]

    def _twice(self, one: Asked, document: bytes, tensors: bytes) -> tuple[bytes, bytes]:
        return self.right[one.assignment.device]  # the second time it finds its own first answer there

    def _clock(self, one: Asked, document: bytes, tensors: bytes) -> tuple[bytes, bytes]:
        said = json.loads(document)
        said["report"]["seconds"] = self.dice.choice((-5.0, 1e12, 50 * one.waited + 9))
        return json.dumps(said).encode(), tensors

    def _liar(self, one: Asked, document: bytes, tensors: bytes) -> tuple[bytes, bytes]:
        said = json.loads(document)
        said["gradient_norms"] = {"99": 1.0}
        return json.dumps(said).encode(), tensors

    # ---- what has to hold

    def broken(self, what: str) -> Broken:
        return Broken(f"seed {self.seed} ({self.method}), round {len(self.store.states) + 1}: {what}")

    def check_outcome(self, plan: rounds.Plan, done: rounds.Outcome) -> None:
        asked = [assignment.device for assignment, _ in plan.asked]
        if len(set(asked)) != len(asked):
            raise self.broken("a device was asked twice")
        counted = [device for device in asked if device not in done.failures]
        if done.answered != len(counted) or set(done.seconds) != set(asked):
            raise self.broken(f"{done.answered} answers were counted, of {len(counted)} devices that did not fail")
        if wronged := [device for device in asked if device not in self.touched and device in done.failures]:
            raise self.broken(f"device {wronged[0]} answered rightly, and was left out: {done.failures[wronged[0]]}")
        poisoned = [device for device in counted if self.touched.get(device) in ("nan", "huge")]
        if poisoned:
            raise self.broken(f"device {poisoned[0]} sent {self.touched[poisoned[0]]} numbers, and they counted")
        is_enough = len(counted) > 0 and len(counted) >= self.spec.quorum * plan.size
        if done.is_quorate != (is_enough or (self.made.may_rest and not plan.assignments)):
            raise self.broken(
                f"{len(counted)} of {plan.size} answered, and the round {'counts' if done.is_quorate else 'fails'}"
            )
        if not all(np.isfinite(array).all() for array in adapters.flatten(done.state.adapter).values()):
            raise self.broken("the state is not finite")

    def check_clean(self, arm: Any, plan: rounds.Plan, answers: Answers, done: rounds.Outcome) -> None:
        """The same state comes of the accepted updates when nothing happens to anybody."""
        accepted = {a.device for a, _ in plan.asked} - set(done.failures)
        if accepted & set(self.touched):
            return  # what was changed was mild enough to be let in
        self.clean += 1
        sent = {one.assignment.device: one.sent for one in answers.asked}
        updates = [
            admitted(*self.right[one.assignment.device], one)
            if one.assignment.device in accepted
            else wire.failed(
                one.assignment.device, one.round, one.sent, "left out", done.seconds[one.assignment.device]
            )
            for one in answers.asked
        ]
        if self.method.startswith(("fedlora", "fedquad")):
            self.check_mean(arm, [update for update in updates if not update.report.failure], done)
        wanted = rounds.finish_round(self.made, arm.state, plan, sent, updates, self.world, quorum=self.spec.quorum)
        if adapters.digest(wanted.state.adapter) != adapters.digest(done.state.adapter):
            raise self.broken("the merged adapter is not the one that the accepted updates give")
        if wanted.state.clock_seconds != done.state.clock_seconds or done.state.round != arm.state.round + 1:
            raise self.broken("the clock or the round's number is another than without faults")

    def check_mean(self, arm: Any, updates: list[Update], done: rounds.Outcome) -> None:
        """Eq. 19 once more, as plainly as can be: each number moves by the mean of what its holders changed."""
        deltas = [adapters.flatten(update.delta) for update in updates]
        merged = adapters.flatten(done.state.adapter)
        for name, before in adapters.flatten(arm.state.adapter).items():
            moved = [delta[name].astype(np.float64) for delta in deltas if name in delta]
            wanted = before + np.mean(moved, axis=0) if moved else before
            if not np.allclose(merged[name], wanted, rtol=1e-5, atol=1e-7):
                raise self.broken(f"{name} is not the mean of its {len(moved)} holders")

    def check_store(self, known: list[str]) -> None:
        if self.store.digests[: len(known)] != known:
            raise self.broken("a committed round has changed")
        if any(facts.state_digest(s) != d for s, d in zip(self.store.states[-2:], self.store.digests[-2:])):
            raise self.broken("a committed state has changed in memory")
        if [document["round"] for document in self.store.facts] != list(range(1, len(self.store.facts) + 1)):
            raise self.broken("rounds are missing, repeated or out of order")

    def run(self, most: int = 400) -> int:
        """Play it to its end; returns how many rounds were committed."""
        known: list[str] = []
        for _ in range(most):
            if len(self.store.states) >= self.spec.rounds:
                return len(self.store.states)
            try:
                run(play(self.arm, self.steps()))
            except (Killed, StoreError):
                self.stops += 1
                self.arm = self.opened()
            except ArmFailedError as error:
                if self.right and not self.touched:
                    raise self.broken(f"nothing happened, and the arm ended: {error}") from error
                return len(self.store.states)
            self.check_store(known)
            known = list(self.store.digests)
        raise self.broken(f"it has not ended after {most} tries")


def answer(seed: int, attempt: int, one: Asked, start: Adapter, seconds: float) -> tuple[bytes, bytes]:
    """A right answer, as bytes."""
    document, tensors = wire.answer(trained(seed, attempt, one, start, seconds))
    return json.dumps(document).encode(), save(tensors) if tensors else b""


def trained(seed: int, attempt: int, one: Asked, start: Adapter, seconds: float) -> Update:
    """What training comes to, drawn from the key that real training has."""
    assignment = one.assignment
    draw = rng.stream(seed, attempt, one.round, assignment.device)
    if not assignment.steps:
        signals = {"gradient_squares": np.abs(draw.normal(size=len(one.like.layers)))}
        return replace(wire.failed(assignment.device, one.round, one.sent, "", seconds), signals=signals)

    def moved(array: np.ndarray) -> np.ndarray:
        return (assignment.learning_rate * draw.normal(size=array.shape)).astype(np.float32)

    layers = {
        layer: {t: Lora(moved(pair.a), moved(pair.b)) for t, pair in start.layers[layer].items()}
        for layer in assignment.trained
    }
    return Update(
        device=assignment.device,
        round=one.round,
        based_on=one.sent,
        delta=Adapter(layers=layers, head={name: moved(array) for name, array in start.head.items()}),
        gradient_norms={layer: float(draw.uniform(0.1, 1)) for layer in assignment.trained},
        report=Report(examples=24, seconds=seconds, loss=1.0, lora_norm=float(draw.uniform(0.5, 2))),
    )
