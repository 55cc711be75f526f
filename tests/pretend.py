"""Rounds of any method without a model: devices answer with deltas drawn from the key that real ones train with."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from fleet_of_three import layout, pricing, statuses, world

from fedquad import discover, rng
from fedquad.prices.cost import CostModel
from fedquad.rounds import adapters
from fedquad.rounds import round as rounds
from fedquad.rounds.strategy import Strategy, World
from fedquad.types import Adapter, Assignment, Lora, Report, ServerState, Statuses, Update

COST = pricing()
LAYERS = COST.layers
METHODS = [
    f"{name}:{variant}" if variant else name
    for name in discover.strategies()
    for variant in dict.fromkeys((*(discover.variants(name) or ("",)), discover.PACED))
]
Device = Callable[[Assignment, Adapter, int], Update]


def device(assignment: Assignment, sent: Adapter, number: int) -> Update:
    """What a device answers; without steps, a probe's answer."""
    draw = rng.stream(0, 0, number, assignment.device)

    def noise(like: np.ndarray) -> np.ndarray:
        return draw.normal(0, 0.01, like.shape).astype(np.float32)

    based_on = adapters.digest(sent)
    if not assignment.steps:
        squares = np.zeros(LAYERS)
        squares[list(assignment.trained)] = draw.uniform(0.5, 2, len(assignment.trained))
        empty = Adapter(layers={}, head={})
        return Update(
            device=assignment.device,
            round=number,
            based_on=based_on,
            delta=empty,
            signals={"gradient_squares": squares},
        )
    layers = {
        layer: {target: Lora(noise(pair.a), noise(pair.b)) for target, pair in sent.layers[layer].items()}
        for layer in assignment.trained
    }
    delta = Adapter(layers=layers, head={name: noise(array) for name, array in sent.head.items()})
    norms = {layer: float(draw.uniform(0.5, 2)) for layer in assignment.trained}
    report = Report(examples=30, seconds=float(draw.uniform(1, 9)), loss=1.0, lora_norm=float(draw.uniform(0.1, 1)))
    return Update(
        device=assignment.device, round=number, based_on=based_on, delta=delta, gradient_norms=norms, report=report
    )


def fleet(*depths: float, cost: CostModel = COST) -> Statuses:
    """Devices with the memory of these LoRA depths, the later the slower."""
    constants = cost.constants
    memory = [round(constants.m_f + depth * constants.m_o) for depth in depths]
    return statuses(memory, [3e12 / (1 + i) for i in range(len(depths))])


def everyone(devices: int, **changes: object) -> World:
    return world(**{"cost": COST, "devices": devices, **changes})


def begin(strategy: Strategy, known: World) -> ServerState:
    master = adapters.initial(layout(layers=known.layers), strategy.greatest_rank(known.rank), seed=0)
    return rounds.begin(strategy, master, known)


def plan(strategy: Strategy, state: ServerState, there: Statuses, known: World, answer: Device = device) -> rounds.Plan:
    """Survey and plan."""
    signals: dict[str, np.ndarray] = {}
    probes = []
    for assignment, estimate in rounds.plan_survey(strategy, state, there, known):
        probed = answer(assignment, strategy.send(state, assignment, known), state.round + 1)
        probes.append(rounds.Probe(assignment=assignment, estimate=estimate, seconds=estimate.seconds))
        for name, values in probed.signals.items():
            signals.setdefault(name, np.full((len(there), len(values)), np.nan))[assignment.device] = values
    return rounds.plan_round(strategy, state, replace(there, signals=signals), known, seed=0, surveyed=tuple(probes))


def run(
    strategy: Strategy,
    state: ServerState,
    there: Statuses,
    known: World,
    answer: Device = device,
    arrival: Callable[[list[int]], Iterable[int]] = list,
) -> tuple[rounds.Plan, dict[int, Update], rounds.Outcome]:
    """One round; `arrival` is the order in which the devices answer."""
    planned = plan(strategy, state, there, known, answer)
    asked = {a.device: a for a, _ in planned.asked}
    sent, answers = {}, {}
    for one in arrival(list(asked)):
        start = strategy.send(state, asked[one], known)
        sent[one], answers[one] = adapters.digest(start), answer(asked[one], start, planned.round)
    updates = (answers[one] for one in asked)
    outcome = rounds.finish_round(strategy, state, planned, sent, updates, known, quorum=0.5)
    return planned, answers, outcome


def planned(method: str, *depths: float, cost: CostModel = COST, **params: object) -> tuple[Assignment, ...]:
    """What a method gives devices of these depths in its first round."""
    made, known = discover.strategy(method, params), everyone(len(depths), cost=cost)
    return plan(made, begin(made, known), fleet(*depths, cost=cost), known).assignments
