"""A device's word on itself, gathered: what its board, its trainer and its last transfers say. `fleets/reported.py` reads it."""

import math
import time
from typing import Any

from fedquad.device.board import BoardReading
from fedquad.fleets.reported import SCHEMA
from fedquad.onboard.folder import DeviceFolder


def report(
    folder: DeviceFolder, pool: str, version: str, board: BoardReading, exchange: str, *, leaving: bool = False
) -> dict[str, Any]:
    """The status as it travels."""
    trainer, transfer = folder.noted("trainer"), folder.noted("transfer")
    return {
        "schema": SCHEMA,
        "name": folder.name,
        "pool": pool,
        "version": version,
        "memory_bytes": int(_finite(board.memory_free_bytes) or 0) + int(trainer.get("held_bytes", 0)),
        "mode": board.mode,
        "watts": _finite(board.watts),
        "upload_bandwidth": transfer.get("upload_bandwidth"),
        "download_bandwidth": transfer.get("download_bandwidth"),
        "examples": int(trainer.get("examples", 0)),
        "labels": list(trainer.get("labels", ())),
        "opened": str(trainer.get("opened", "")),
        "backbone": str(trainer.get("backbone", "")),
        "problem": str(trainer.get("problem", "")),
        "step_seconds": dict(trainer.get("step_seconds", {})),
        "loads": int(trainer.get("loads", 0)),
        "leaving": leaving,
        "exchange": exchange,
        "objective": str(trainer.get("objective", "")),
        "age_seconds": max(0.0, time.time() - float(trainer.get("noted_at", time.time()))),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
