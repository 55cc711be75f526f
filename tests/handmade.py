"""Campaign folders made by hand: the real store, rounds with figures one can follow, no training."""

from pathlib import Path
from typing import Any

import numpy as np

from fedquad.rounds import bounds
from fedquad.spec import ArmSpec, CampaignSpec, FleetSpec
from fedquad.store import exports
from fedquad.store.arm import ArmFolder
from fedquad.store.campaign import CampaignFolder, campaign
from fedquad.types import Adapter, Lora, ServerState

DIGESTS = {"split": "a" * 64, "trace": "b" * 64, "adapter": "c" * 64, "backbone": "d" * 64}
ENVIRONMENT = {"machine": "an abacus", "threads": 1, "torch": "2.13.0"}


def spec(*methods: str, rounds: int = 3, seeds: tuple[int, ...] = (0,), **more: Any) -> CampaignSpec:
    arms = tuple(ArmSpec(method=method) for method in methods or ("fedlora",))
    return CampaignSpec(arms=arms, rounds=rounds, seeds=seeds, fleet=FleetSpec(boards={"jetson-tx2": 2}), **more)


def facts(number: int, accuracy: float = 0.5, digest: str = "") -> dict[str, Any]:
    """A round of two devices; each takes 100 s of the fleet's time."""
    rows = [
        {
            "device": device,
            "class": "jetson-tx2",
            "board": "jetson-tx2",
            "mode": "MAXN",
            "memory_bytes": 8_000,
            "present": [0, 1],
            "trained": [1],
            "quantized": [],
            "ranks": [8, 8],
            "seconds": 100.0 - 20 * device,
            "wait_seconds": 20.0 * device,
            "predicted_seconds": 100.0,
            "peak_bytes": 7_000,
            "failure": "",
        }
        for device in range(2)
    ]
    return {
        "round": number,
        "attempt": 0,
        "score": accuracy,
        "accuracy": accuracy,
        "loss": 1.0 / number,
        "validation_score": accuracy,
        "validation_accuracy": accuracy,
        "validation_loss": None,
        "train_loss": 0.7,
        "round_seconds": 100.0,
        "elapsed_seconds": 100.5 * number,
        "mean_wait_seconds": 10.0,
        "mean_seconds": 90.0,
        "upload_bytes": 2_000_000,
        "download_bytes": 3_000_000,
        "energy_joules": 1500.0,
        "memory_violations": 0,
        "participants": 2,
        "failures": 0,
        "mean_depth": 1.0,
        "mean_quantized": 0.0,
        "holders": [0, 2],
        "gradient_norms": [1.0, 0.5],
        "assignments": rows,
        "state_digest": digest or f"{number:064d}",
        "adapter_digest": "e" * 64,
        "wall_train_seconds": 1.0,
        "wall_evaluate_seconds": 0.5,
        "wall_round_seconds": 1.6,
    }


def state(number: int) -> ServerState:
    ones = np.ones((2, 2), dtype=np.float32)
    return ServerState(
        round=number,
        adapter=Adapter(layers={0: {"query": Lora(ones, ones)}}, head={}),
        memo={},
        gradient_norms=np.ones(2),
        pace=np.ones(2),
        mean_seconds=90.0,
        clock_seconds=100.5 * number,
        norms=bounds.nothing_yet(2),
        offences=np.zeros(2, dtype=np.int64),
        suspended=np.zeros(2, dtype=np.int64),
    )


def make(name: str, described: CampaignSpec, rounds: int | None = None) -> CampaignFolder:
    """A campaign with so many committed rounds in every arm; accuracy rises by a tenth a round."""
    folder = campaign(name)
    with folder.open(described):
        for arm in described.arms:
            for seed in described.seeds:
                begin_arm(folder, arm, seed)
                for number in range(1, (described.rounds if rounds is None else rounds) + 1):
                    commit(folder, arm.name, seed, number)
        folder.write_summary()
    return folder


def begin_arm(folder: CampaignFolder, arm: ArmSpec, seed: int) -> None:
    about = {"label": arm.name, "method": arm.method, "params": dict(arm.params), "seed": seed, "failure": ""}
    path = folder.arm(arm.name, seed)
    inputs = {"spec": folder.spec_digest()}
    path.begin({**about, "digests": DIGESTS, "inputs": inputs, "environment": ENVIRONMENT})
    export(path)


def export(arm: ArmFolder) -> None:
    """What stands for the adapters of the last and the best round."""
    progress = arm.progress()
    for name, digest in (("adapter", progress.last_digest), ("best", progress.best_digest)):
        (arm.path / name).mkdir(exist_ok=True)
        (arm.path / name / "adapter_config.json").write_text("{}\n")
        exports.stamp(arm.path / name, digest)


def commit(folder: CampaignFolder, label: str, seed: int, number: int) -> None:
    arm = folder.arm(label, seed)
    arm.open().commit(state(number), facts(number, accuracy=min(0.9, 0.3 + 0.1 * number)))
    export(arm)


def home_is(path: Path, monkeypatch: Any) -> Path:
    """Put FEDQUAD_HOME into a test's folder, without servers named outside."""
    for key in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("FEDQUAD_HOME", str(path))
    return path
