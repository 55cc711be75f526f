"""What malformed answers do to an arm: real answers of every method and of the survey, damaged at random, through the server's gate.

    python -m benchmarks.malformed --cases 1000000 --seed 0     # about five minutes of one core; writes malformed.csv
    python -m benchmarks.malformed --cases 20000                # a look

Each case is one device's answer of a real plan on a small model (12 layers, hidden 8), changed in its JSON, its bytes, its tensors or
its numbers. Whatever is let in meets the round: with two right answers beside it, to the next state and its facts. `ended` counts
exceptions, which would end the arm; `poisoned` states that are not finite, and updates that went in beyond the bound.
"""

import copy
import json
import random
import resource
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from safetensors.numpy import save

from benchmarks.rows import arguments, record
from fedquad import discover, rng, wire
from fedquad.prices.cost import cost_model
from fedquad.prices.shapes import SHAPES
from fedquad.rounds import adapters, bounds, facts
from fedquad.rounds import round as rounds
from fedquad.rounds.admit import Asked, admitted
from fedquad.rounds.strategy import Strategy, World
from fedquad.rounds.unpack import Refused
from fedquad.spec import CostSpec, ModelSpec, TrainingSpec
from fedquad.types import Adapter, Assignment, Lora, ModelLayout, Report, ServerState, Statuses, Update

METHODS = (
    "fedlora",
    "fedquad",
    "fedquad_wo_qd",
    "fedquad_wo_ld",
    "fedra",
    "inclusivefl",
    "layersel",
    "hetlora",
    "legend",
)
LAYERS, HIDDEN, DEVICES = 12, 8, 3
WHOLE = 25  # of so many that are let in, one goes through a whole round
VALUES: tuple[Any, ...] = (None, True, -1, 0, 1, 2**63, 10**400, 1e308, -1e308, 1e-320, 0.5, "", "x", "\x00\x1b[2J", [], {}, [[]],
                           {"a": {}}, "9" * 300, float("nan"), float("inf"), -float("inf"))  # fmt: skip
NUMBERS = (np.nan, np.inf, -np.inf, 3e38, 1e30, 1e6, -1e6, 1e3, 0.0, 1e-45)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One device's part of a plan, with a right answer to it; the state and plan that it belongs to."""

    method: str
    made: Strategy
    world: World
    state: ServerState
    plan: rounds.Plan
    statuses: Statuses
    asked: Asked
    document: dict[str, Any]
    tensors: dict[str, np.ndarray]
    others: tuple[Update, ...]  # of the whole plan, this device's own included


def layout() -> ModelLayout:
    shape = replace(SHAPES["roberta-base"], hidden=HIDDEN, heads=2)
    targets = {"attention.self.query": (HIDDEN, HIDDEN), "attention.self.value": (HIDDEN, HIDDEN)}
    head = {"classifier.dense.weight": (HIDDEN, HIDDEN), "classifier.out_proj.weight": (3, HIDDEN)}
    return ModelLayout(
        shape=shape, digest="", layer_path="roberta.encoder.layer", targets=targets, head=head,
        head_modules=("classifier",), head_std=0.02, labels=3,
    )  # fmt: skip


def cases() -> list[Case]:
    """Every device of every method's second round, and of the survey."""
    return [case for method in METHODS for case in of_method(method)]


def of_method(method: str) -> Iterator[Case]:
    cost = cost_model(SHAPES["roberta-base"], ModelSpec(), TrainingSpec(), CostSpec(priced_as="roberta-base"), labels=3)
    training = TrainingSpec(steps=4, learning_rate=1e-2)
    world = World(layers=LAYERS, rank=8, cost=cost, training=training, examples=np.full(DEVICES, 32), rounds=9)
    made = discover.strategy(method)
    state = rounds.begin(made, adapters.initial(layout(), made.greatest_rank(8), seed=0), world)
    there = fleet([cost.constants.m_f + cost.constants.m_o * depth for depth in (12, 9, 6)])
    probes = rounds.plan_survey(made, state, there, world)
    for assignment, _ in probes:
        sent = made.send(state, assignment, world)
        yield case(method, made, world, state, None, there, assignment, sent, 1, ())
    if probes:
        signal = np.abs(rng.stream(0, "signal").normal(size=(DEVICES, LAYERS)))
        there = replace(there, signals={"gradient_squares": signal})
    plan = rounds.plan_round(made, state, there, world, seed=0)
    sent = {a.device: made.send(state, a, world) for a, _ in plan.asked}
    updates = tuple(trained(a, sent[a.device], 1) for a, _ in plan.asked)
    for assignment, _ in plan.asked:
        yield case(method, made, world, state, plan, there, assignment, sent[assignment.device], 1, updates)


def case(
    method: str, made: Strategy, world: World, state: ServerState, plan: Any, there: Statuses, assignment: Assignment,
    sent: Adapter, number: int, updates: tuple[Update, ...],
) -> Case:  # fmt: skip
    asked = Asked(assignment=assignment, round=number, sent=adapters.digest(sent), like=state.adapter, waited=2.0)
    document, tensors = wire.answer(trained(assignment, sent, number))
    return Case(method, made, world, state, plan, there, asked, json.loads(json.dumps(document)), tensors, updates)


def trained(assignment: Assignment, sent: Adapter, number: int) -> Update:
    """What a device answers: steps of about the rate, or a probe's numbers."""
    base, draw = adapters.digest(sent), rng.stream(1, assignment.device)
    if not assignment.steps:
        signals = {"gradient_squares": np.abs(draw.normal(size=LAYERS))}
        return replace(wire.failed(assignment.device, number, base, "", 1.0), signals=signals)

    def moved(array: np.ndarray) -> np.ndarray:
        return (assignment.learning_rate * draw.normal(size=array.shape)).astype(np.float32)

    layers = {
        layer: {t: Lora(moved(p.a), moved(p.b)) for t, p in sent.layers[layer].items()} for layer in assignment.trained
    }
    return Update(
        device=assignment.device,
        round=number,
        based_on=base,
        delta=Adapter(layers=layers, head={name: moved(array) for name, array in sent.head.items()}),
        gradient_norms={layer: float(draw.random()) for layer in assignment.trained},
        report=Report(examples=32, seconds=1.0, loss=1.0, lora_norm=1.0),
    )


def fleet(memory: list[int]) -> Statuses:
    count = len(memory)
    zeros, ones = np.zeros(count, np.int16), np.ones(count)
    return Statuses(
        classes=("weak",), boards=("jetson-tx2",), modes=(("MAXN",),), class_of=zeros, board_of=zeros, mode_of=zeros,
        available=np.ones(count, bool), memory_bytes=np.array(memory, np.int64), flops=ones * 1e12,
        memory_bandwidth=ones * 6e10, upload_bandwidth=ones * np.inf, download_bandwidth=ones * np.inf,
        training_watts=ones * 12, idle_watts=ones * 3, radio_watts=ones * 4,
    )  # fmt: skip


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def changed_json(dice: random.Random, case: Case) -> tuple[bytes, bytes]:
    """One to three values replaced, keys added, removed or renamed."""
    document = json.loads(json.dumps(case.document))
    for _ in range(dice.randint(1, 3)):
        path = dice.choice(places(document))
        if not path:
            continue
        at = document
        for key in path[:-1]:
            at = at[key]
        kind = dice.randrange(4)
        if kind == 0 and isinstance(at, dict):
            at.pop(path[-1])
        elif kind == 1 and isinstance(at, dict):
            at[dice.choice(("x", "99", "-1", "report", "\x00"))] = copy.deepcopy(at.get(path[-1]))
        else:
            at[path[-1]] = copy.deepcopy(dice.choice(VALUES))
    return json.dumps(document).encode(), save(case.tensors)


def changed_bytes(dice: random.Random, case: Case) -> tuple[bytes, bytes]:
    """Bytes flipped, cut, doubled or put in."""
    parts = [bytearray(json.dumps(case.document).encode()), bytearray(save(case.tensors))]
    data = parts[dice.randrange(2)]
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(data) or 1)
        kind = dice.randrange(4)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = dice.randbytes(dice.randint(1, 40))
        else:
            data[at:at] = data[at : at + dice.randint(1, 100)]
    return bytes(parts[0]), bytes(parts[1])


def changed_header(dice: random.Random, case: Case) -> tuple[bytes, bytes]:
    """A safetensors file whose header says something else than it holds."""
    whole = save(case.tensors)
    (size,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + size])
    name = dice.choice(list(header) or ["x"])
    entry = header.setdefault(name, {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})
    kind = dice.randrange(6)
    if kind == 0:
        entry["dtype"] = dice.choice(("BF16", "F8_E4M3", "F64", "I8", "", 3))
    elif kind == 1:
        entry["shape"] = dice.choice(([], [0], [-1, 4], [2**40, 2**40], "x", [1.5], entry["shape"][::-1]))
    elif kind == 2:
        entry["data_offsets"] = dice.choice(([0], [4, 0], [-4, 0], [0, 2**60], [0, 4], None))
    elif kind == 3:
        header[dice.choice(("__metadata__", "layers.99.q.a", "layers.x.q.a", "head."))] = header.pop(name)
    elif kind == 4:
        header.pop(name)
    else:
        size = dice.choice((0, 1, 2**63, size + 8, size - 8))
    text = json.dumps(header).encode()
    length = size if kind == 5 else len(text)
    return json.dumps(case.document).encode(), struct.pack("<Q", max(0, length)) + text + whole[8 + len(text) :]


def changed_numbers(dice: random.Random, case: Case) -> tuple[bytes, bytes]:
    """A delta of other numbers, names or shapes, whose digest is right."""
    tensors = dict(case.tensors)
    for _ in range(dice.randint(1, 3)):
        if not tensors:
            break
        name = dice.choice(list(tensors))
        array, kind = tensors[name].copy(), dice.randrange(6)
        if kind == 0:
            array.flat[dice.randrange(array.size)] = dice.choice(NUMBERS)
        elif kind == 1:
            array[...] = dice.choice(NUMBERS)
        elif kind == 2:
            array = array * np.float32(dice.choice((1e-6, 10.0, 1e3, 1e6, 1e20)))
        elif kind == 3:
            array = array[: max(1, len(array) // 2)]
        elif kind == 4:
            tensors[dice.choice(("layers.0.x.a", "head.x", "layers.11.attention.self.query.a"))] = array
        else:
            tensors.pop(name)
            continue
        tensors[name] = array
    document = {**case.document, "delta": adapters.tensors_digest(tensors)}
    return json.dumps(document).encode(), save(tensors)


KINDS: tuple[Callable[[random.Random, Case], tuple[bytes, bytes]], ...] = (
    changed_json, changed_bytes, changed_header, changed_numbers,
)  # fmt: skip


def outcome(case: Case, answer: bytes, tensors: bytes, is_whole: bool) -> str:
    """What becomes of one malformed answer."""
    try:
        update = admitted(answer, tensors, case.asked)
    except Refused:
        return "refused"
    except Exception:  # the gate takes even these for the device's failure; here they count apart
        return "refused by another error"
    if update.report.failure:
        return "failed, as it says"
    if case.asked.probe:
        return "taken" if all(np.isfinite(values).all() for values in update.signals.values()) else "poisoned"
    limit = bounds.limits([], medians(case), case.world.training.update_bound)
    measured = bounds.measures(update.delta, case.asked.assignment, LAYERS)
    if bounds.beyond_absolute(update.delta, measured) or bounds.beyond(measured, limit):
        return "refused by its norm" if not is_whole else played(case, update, must_refuse=True)
    return played(case, update, must_refuse=False) if is_whole else "taken"


def medians(case: Case) -> np.ndarray:
    one = bounds.measures(case.others[0].delta, case.others[0].report and case.plan.asked[0][0], LAYERS)
    filled = np.where(np.isfinite(one), one, np.nanmedian(one))
    return np.tile(filled, (bounds.ROUNDS_KEPT, 1))


def played(case: Case, update: Update, must_refuse: bool) -> str:
    """A whole round with it, to the facts."""
    device = case.asked.assignment.device
    updates = [update if other.device == device else other for other in case.others]
    sent = {other.device: other.based_on for other in case.others}
    state = replace(case.state, norms=medians(case))
    done = rounds.finish_round(case.made, state, case.plan, sent, updates, case.world, quorum=0.1)
    scores = facts.Scores(score=0.5, loss=1.0, validation_score=0.5, validation_loss=1.0)
    json.dumps(facts.round_facts(case.plan, done, case.statuses, scores, {}).to_json(), allow_nan=False)
    arrays = adapters.flatten(done.state.adapter).values()
    if not all(np.isfinite(array).all() for array in arrays) or (must_refuse and device not in done.failures):
        return "poisoned"
    return "refused by its norm" if must_refuse else "taken"


def run(count: int, seed: int) -> dict[str, Any]:
    dice, every, counts = random.Random(seed), cases(), Counter[str]()
    ended, slowest, first, seconds = 0, 0.0, 0.0, 0.0
    for number in range(count):
        chosen, kind = dice.choice(every), dice.choice(KINDS)
        answer, tensors = kind(dice, chosen)
        start = time.process_time()  # drawing a damage is not counted
        try:
            counts[outcome(chosen, answer, tensors, is_whole=dice.randrange(WHOLE) == 0)] += 1
        except Exception as error:
            ended += 1
            print(f"seed {seed}, case {number}, {chosen.method}, {kind.__name__}: {type(error).__name__}: {error}")
        slowest, seconds = max(slowest, time.process_time() - start), seconds + time.process_time() - start
        if number == min(10_000, count - 1):
            first = peak_megabytes()
    return {
        "cases": count,
        "seed": seed,
        "ended": ended,
        "poisoned": counts["poisoned"],
        "refused": counts["refused"],
        "refused_by_another_error": counts["refused by another error"],
        "refused_by_its_norm": counts["refused by its norm"],
        "failed_as_it_says": counts["failed, as it says"],
        "taken": counts["taken"],
        "a_second": round(count / seconds),
        "slowest_ms": round(1e3 * slowest, 1),
        "peak_megabytes_grown": round(peak_megabytes() - first, 1),
    }


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    record("malformed", [run(given.cases, given.seed)], as_json=given.json)


if __name__ == "__main__":
    main()
