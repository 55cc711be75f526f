"""Three devices and two layers, small enough to check by hand; shared by the tests of the core."""

import numpy as np

from fedquad.prices.cost import CostModel, cost_model
from fedquad.prices.shapes import shape_named
from fedquad.rounds import adapters, bounds
from fedquad.rounds.strategy import World
from fedquad.spec import CostSpec, ModelSpec, TrainingSpec
from fedquad.types import Adapter, Assignment, Lora, ModelLayout, Report, ServerState, Statuses, Update


def adapter(layers: int = 2, rank: int = 2, width: int = 3, fill: float = 0.0, head: float = 0.0) -> Adapter:
    """An adapter whose every number in layer l is fill + l."""
    return Adapter(
        layers={
            layer: {
                "q": Lora(
                    np.full((rank, width), fill + layer, np.float32), np.full((width, rank), fill + layer, np.float32)
                )
            }
            for layer in range(layers)
        },
        head={"classifier.weight": np.full((2, width), head, np.float32)},
    )


def state(of: Adapter, **changes: object) -> ServerState:
    """The state before the first round."""
    fields = {
        "round": 0,
        "adapter": of,
        "memo": {},
        "gradient_norms": np.full(len(of.layers), np.nan),
        "pace": np.full(3, np.nan),
        "mean_seconds": 0.0,
        "clock_seconds": 0.0,
        "norms": bounds.nothing_yet(len(of.layers)),
        "offences": np.zeros(3, dtype=np.int64),
        "suspended": np.zeros(3, dtype=np.int64),
    }
    return ServerState(**{**fields, **changes})  # type: ignore[arg-type]


def assignment(device: int, trained: tuple[int, ...], layers: int = 2, rank: int = 2, **changes: object) -> Assignment:
    fields = {
        "device": device,
        "present": tuple(range(layers)),
        "trained": trained,
        "ranks": (rank,) * layers,
        "steps": 3,
        "learning_rate": 0.1,
    }
    return Assignment(**{**fields, **changes})  # type: ignore[arg-type]


def answer(of: Assignment, sent: Adapter, fill: float, round: int = 1, **report: object) -> Update:
    """The update of a device that adds `fill` to every number it trained, and to its head."""
    delta = Adapter(
        layers={
            layer: {t: Lora(np.full_like(p.a, fill), np.full_like(p.b, fill)) for t, p in sent.layers[layer].items()}
            for layer in of.trained
        },
        head={name: np.full_like(array, fill) for name, array in sent.head.items()},
    )
    norms = dict.fromkeys(of.trained, fill)
    return Update(
        device=of.device,
        round=round,
        based_on=adapters.digest(sent),
        delta=delta,
        gradient_norms=norms,
        report=Report(**{"examples": 10, "seconds": 1.0, "loss": 0.5, **report}),  # type: ignore[arg-type]
    )


def pricing(name: str = "roberta-base", layers: int = 12) -> CostModel:
    return cost_model(shape_named(name, layers), ModelSpec(), TrainingSpec(), CostSpec(priced_as=name), labels=3)


def memory_of_depth(cost: CostModel, depth: int) -> int:
    """Bytes that vanilla FedLoRA of this depth is given: the paper's way to say how much memory a device has."""
    return cost.constants.m_f + cost.constants.m_o * depth


def world(cost: CostModel | None = None, devices: int = 3, **changes: object) -> World:
    cost = cost or pricing()
    fields = {
        "layers": cost.layers,
        "rank": 8,
        "cost": cost,
        "training": TrainingSpec(steps=3, update_bound=0),  # deltas made by hand go as far as they like
        "examples": np.full(devices, 30),
        "rounds": 10,
    }
    return World(**{**fields, **changes})  # type: ignore[arg-type]


def statuses(memory_bytes: list[int], flops: list[float] | None = None) -> Statuses:
    """Devices of one board and mode that differ in memory and speed."""
    count = len(memory_bytes)
    zeros, ones = np.zeros(count, np.int16), np.ones(count)
    return Statuses(
        classes=("weak",),
        boards=("jetson-tx2",),
        modes=(("MAXN",),),
        class_of=zeros,
        board_of=zeros,
        mode_of=zeros,
        available=np.ones(count, bool),
        memory_bytes=np.array(memory_bytes, np.int64),
        flops=np.array(flops or [1e12] * count),
        memory_bandwidth=ones * 6e10,
        upload_bandwidth=ones * np.inf,
        download_bandwidth=ones * np.inf,
        training_watts=ones * 12,
        idle_watts=ones * 3,
        radio_watts=ones * 4,
    )


def layout(layers: int = 2, width: int = 3) -> ModelLayout:
    from fedquad.types import ModelShape

    shape = ModelShape(
        name="tiny",
        architecture="roberta",
        layers=layers,
        hidden=width,
        intermediate=4 * width,
        heads=1,
        vocabulary=10,
        positions=8,
    )
    return ModelLayout(
        shape=shape,
        digest="0" * 64,
        layer_path="roberta.encoder.layer",
        targets={"attention.self.query": (width, width), "attention.self.value": (width, width)},
        head={"classifier.dense.weight": (width, width), "classifier.dense.bias": (width,)},
        head_modules=("classifier",),
        head_std=0.02,
        labels=3,
    )
