"""Run a preset in a home of its own, and keep what benchmarks of whole campaigns keep of each round."""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows.edge import campaign_spec
from flows.launch import run

FIGURES = (
    "round",
    "accuracy",
    "elapsed_seconds",
    "round_seconds",
    "mean_wait_seconds",
    "upload_bytes",
    "download_bytes",
    "energy_joules",
    "mean_depth",
    "mean_quantized",
    "memory_violations",
    "failures",
)


def measure(
    preset: str,
    seeds: str | None = None,
    methods: str | None = None,
    settings: Sequence[str] = (),
    look: Callable[[Path], None] = lambda home: None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the campaign's summary and a row a round; `wall_seconds` is this machine's for the whole campaign.

    `look` is shown the campaign's home before it goes.
    """
    with tempfile.TemporaryDirectory() as home:
        os.environ["FEDQUAD_HOME"] = home
        began = time.monotonic()
        summary = run(campaign_spec(preset, seeds=seeds, methods=methods, settings=settings), preset)
        wall = round(time.monotonic() - began, 1)
        look(Path(home))
    return summary, [
        {"label": arm["label"], "seed": arm["seed"], **{key: r[key] for key in FIGURES}, "wall_seconds": wall}
        for arm in summary["arms"]
        for r in arm["rounds"]
    ]
