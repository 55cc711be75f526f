"""A campaign as large as the paper's table, through the store's own writers: nine methods, five seeds, fifty rounds, nine devices, no training."""

from typing import Any

import handmade
import numpy as np

from fedquad.report.looks import METHODS
from fedquad.spec import ArmSpec, CampaignSpec, FleetSpec
from fedquad.store.campaign import CampaignFolder, campaign

LAYERS = 12
CLASSES = ("strong", "moderate", "weak")
START = {"score": 0.33, "accuracy": 0.33, "loss": 1.1}


def spec(labels: tuple[str, ...] = METHODS, seeds: int = 5, rounds: int = 50) -> CampaignSpec:
    arms = tuple(ArmSpec(method=label.partition("-")[0], label=label) for label in labels)
    return CampaignSpec(arms=arms, rounds=rounds, seeds=tuple(range(seeds)), fleet=FleetSpec(boards={"jetson-tx2": 9}))


def facts(number: int, speed: float, seed: int) -> dict[str, Any]:
    """A round of a method that takes `speed` times as long a round as another, on nine devices of three classes."""
    draw = np.random.default_rng([number, seed, round(100 * speed)])
    rows = []
    for device in range(9):
        depth = int(draw.integers(1, LAYERS - 4 * (device // 3) + 1))
        spent = float(speed * draw.uniform(8, 12))
        rows.append(
            {
                "device": device, "class": CLASSES[device // 3], "board": "jetson-tx2", "mode": "MAXN", "memory_bytes": 10**9,
                "present": list(range(LAYERS)), "trained": list(range(LAYERS - depth, LAYERS)),
                "quantized": list(range(LAYERS - depth, LAYERS - depth // 2)), "ranks": [8] * LAYERS, "seconds": spent, "wait_seconds": 1.0,
                "predicted_seconds": spent * float(draw.normal(1, 0.1)), "peak_bytes": int(draw.uniform(0.5, 1.02) * 10**9),
                "failure": "it did not answer in time" if draw.random() < 0.01 else "",
            }
        )  # fmt: skip
    holders = [sum(layer in row["trained"] for row in rows) for layer in range(LAYERS)]
    elapsed = 12.0 * speed * number
    score = 0.33 + 0.5 * (1 - float(np.exp(-number / 12))) + float(draw.normal(0, 0.005))
    more = {
        "round_seconds": 12.0 * speed, "elapsed_seconds": elapsed, "mean_wait_seconds": 2.0 * speed, "participants": 9, "holders": holders,
        "failures": sum(bool(row["failure"]) for row in rows), "memory_violations": sum(row["peak_bytes"] > 10**9 for row in rows),
        "mean_depth": float(np.mean([len(row["trained"]) for row in rows])), "assignments": rows, "gradient_norms": [1.0] * LAYERS,
    }  # fmt: skip
    return {**handmade.facts(number, accuracy=score), **more}


def make(name: str, described: CampaignSpec) -> CampaignFolder:
    folder = campaign(name)
    with folder.open(described):
        for at, arm in enumerate(described.arms):
            for seed in described.seeds:
                path = folder.arm(arm.name, seed)
                about = {
                    "label": arm.name,
                    "method": arm.method,
                    "params": {},
                    "seed": seed,
                    "environment": handmade.ENVIRONMENT,
                }
                work = path.begin({**about, "digests": handmade.DIGESTS, "inputs": {"spec": folder.spec_digest()}})
                path.note_start(START)
                for number in range(1, described.rounds + 1):
                    work.commit(handmade.state(number), facts(number, 1 + 0.2 * at, seed))
    return folder
