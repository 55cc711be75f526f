"""How long every method's rounds take and how long its devices wait, without training.

    python -m benchmarks.method_rounds            # writes method_rounds.csv; a minute on one core
    python -m benchmarks.method_rounds --json     # prints the same rows

30 devices 3:3:4, 24 layers (RoBERTa-large b32 s128, an epoch of MNLI: 123 steps), speeds 6x apart, 30 rounds, 2 seeds.
Devices answer with nothing but their seconds as predicted and gradient norms g_l = e^(0.08 l). `holders_bottom` and
`holders_top` are the devices that trained the lowest and the highest layer in a round.
"""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.rows import arguments, record
from fedquad import discover, rng
from fedquad.fleets import fleet
from fedquad.prices.cost import CostModel, cost_model
from fedquad.prices.shapes import SHAPES
from fedquad.rounds import adapters
from fedquad.rounds import round as rounds
from fedquad.rounds.strategy import Strategy, World
from fedquad.spec import CostSpec, FleetSpec, ModelSpec, TrainingSpec
from fedquad.types import Adapter, Assignment, Lora, Report, ServerState, Statuses, Update

METHODS = (
    "fedlora",
    "fedquad",
    "fedquad:deadline",
    "fedquad_wo_qd",
    "fedquad_wo_ld",
    "fedra",
    "inclusivefl",
    "layersel",
    "layersel probe_batches=123",  # the whole local set, as published
    "layersel:strict",
    "hetlora",
    "hetlora:ignore",
    "legend",
)
BOARDS = {"jetson-agx-xavier": 9, "jetson-xavier-nx": 9, "jetson-tx2": 12}
STEPS, ROUNDS, SEEDS = 123, 30, (0, 1)
NORMS = np.exp(0.08 * np.arange(24))
ZERO = {target: Lora(np.zeros((16, 1), np.float32), np.zeros((1, 16), np.float32)) for target in ("query",)}


def measure(method: str, cost: CostModel) -> dict[str, Any]:
    """Run a method's rounds on the fleet of every seed; means over rounds and seeds."""
    drawn = fleet.resolve(FleetSpec(boards=BOARDS, spread="6x"), discover.boards())
    found = [one for seed in SEEDS for one in rounds_of(method, cost, drawn, seed)]
    plain = {key: round(statistics.fmean(one[key] for one in found), 2) for key in found[0]}
    return {"method": method, **plain}


def rounds_of(method: str, cost: CostModel, drawn: fleet.Fleet, seed: int) -> Iterator[dict[str, float]]:
    name, _, setting = method.partition(" ")
    key, _, value = setting.partition("=")
    made = discover.strategy(name, {key: int(value)} if setting else {})
    world = World(
        layers=24,
        rank=8,
        cost=cost,
        training=TrainingSpec(batch=32, steps=STEPS),
        examples=np.full(len(drawn), 32 * STEPS),
        rounds=ROUNDS,
        memory_policy=made.memory_policy,
    )
    state = rounds.begin(made, Adapter(layers=dict.fromkeys(range(24), ZERO), head={}), world)
    for number in range(1, ROUNDS + 1):
        statuses = fleet.draw(drawn, cost, seed, number)
        asked = rounds.plan_survey(made, state, statuses, world)
        if asked:
            squares = NORMS**2 * rng.stream(seed, number, "probe").lognormal(0, 0.5, (len(statuses), 24))
            statuses = replace(statuses, signals={"gradient_squares": squares})
        probes = tuple(rounds.Probe(assignment=a, estimate=e, seconds=e.seconds) for a, e in asked)
        plan = rounds.plan_round(made, state, statuses, world, seed=seed, surveyed=probes)
        outcome = finish(made, state, plan, world)
        state = outcome.state
        yield figures(plan, outcome, statuses)


def finish(made: Strategy, state: ServerState, plan: rounds.Plan, world: World) -> rounds.Outcome:
    sent = {a.device: made.send(state, a, world) for a, _ in plan.asked}
    digests = {device: adapters.digest(each) for device, each in sent.items()}
    answers = (answer(a, sent[a.device], digests[a.device], plan.round, e.seconds) for a, e in plan.asked)
    return rounds.finish_round(made, state, plan, digests, answers, world, quorum=0.5)


def answer(assignment: Assignment, sent: Adapter, digest: str, number: int, seconds: float) -> Update:
    delta = Adapter(layers={layer: sent.layers[layer] for layer in assignment.trained}, head={})
    norms = {layer: float(NORMS[layer]) for layer in assignment.trained}
    report = Report(examples=32 * STEPS, seconds=seconds, loss=1.0)
    return Update(
        device=assignment.device, round=number, based_on=digest, delta=delta, gradient_norms=norms, report=report
    )


def figures(plan: rounds.Plan, outcome: rounds.Outcome, statuses: Statuses) -> dict[str, float]:
    trained = [a.trained for a, _ in plan.asked]
    work = [*(e for _, e in plan.asked), *(probe.estimate for probe in plan.survey)]
    return {
        "round_seconds": outcome.timing.round_seconds,
        "mean_wait_seconds": outcome.timing.mean_wait_seconds,
        "megabytes": sum(e.upload_bytes + e.download_bytes for e in work) / 1e6,
        "violations": len(plan.over_memory),
        "sitting_out": len(statuses.participants) - len(plan.assignments),
        "mean_trained": statistics.fmean(map(len, trained)),
        "holders_bottom": sum(0 in layers for layers in trained),
        "holders_top": sum(23 in layers for layers in trained),
    }


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    cost = cost_model(SHAPES["roberta-large"], ModelSpec(), TrainingSpec(batch=32), CostSpec(sequence=128), labels=3)
    record("method_rounds", [measure(method, cost) for method in METHODS], as_json=as_json)


if __name__ == "__main__":
    main()
