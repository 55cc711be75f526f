"""How long ACS takes, and how much memory, from a hundred devices to a million.

    python -m benchmarks.acs_scale            # writes acs_scale.csv
    python -m benchmarks.acs_scale --json     # prints [{"devices": ..., "seconds": ..., "megabytes": ...}]

24 layers, the default rule after its first round; `paced_seconds` are those of the rule `paced` and of dealing its steps,
`draw_seconds` those of drawing the fleet's statuses before it. Each size runs in a process of its own on one core;
seconds are the median of five, megabytes what the process's peak grew by, fleet included.
"""

import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from benchmarks.rows import arguments, record
from fedquad import discover
from fedquad.fleets import fleet
from fedquad.prices.cost import cost_model
from fedquad.prices.shapes import SHAPES
from fedquad.rounds import acs, paced
from fedquad.spec import CostSpec, FleetSpec, ModelSpec, TrainingSpec

SIZES = (10**2, 10**3, 10**4, 10**5, 10**6)
REPEATS = 5


def measure(size: int) -> dict[str, Any]:
    """Draw and configure a fleet of so many devices."""
    before = peak_megabytes()
    boards = {"jetson-agx-xavier": 3 * size // 10, "jetson-xavier-nx": 3 * size // 10, "jetson-tx2": 4 * size // 10}
    devices = fleet.resolve(FleetSpec(boards=boards, spread="6x"), discover.boards())
    cost = cost_model(SHAPES["roberta-large"], ModelSpec(), TrainingSpec(batch=32), CostSpec(sequence=128), labels=3)
    norms = np.exp(0.08 * np.arange(cost.layers))
    drawing = [timed(lambda: fleet.draw(devices, cost, 0, 1)) for _ in range(REPEATS)]
    statuses = fleet.draw(devices, cost, 0, 1)
    known = acs.describe(cost, statuses, np.full(size, 123))
    first = acs.decide(acs.Settings(), known, cost.constants, np.ones(cost.layers), 0.0)
    mean = float(first.seconds.mean())
    choosing = [timed(lambda: acs.decide(acs.Settings(), known, cost.constants, norms, mean)) for _ in range(REPEATS)]
    megabytes = round(peak_megabytes() - before, 1)
    asked = np.full(size, 123)
    traffic = np.zeros(size)

    def pace() -> None:
        chosen = acs.decide(acs.Settings(rule="paced", least=0.25), known, cost.constants, norms, mean)
        paced.deal(int(asked.sum()), chosen.seconds / asked, traffic, *paced.bounds(asked, 0.25, 8.0))

    return {
        "devices": size,
        "seconds": round(statistics.median(choosing), 5),
        "paced_seconds": round(statistics.median(timed(pace) for _ in range(REPEATS)), 5),
        "megabytes": megabytes,
        "draw_seconds": round(statistics.median(drawing), 5),
    }


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def rows() -> list[dict[str, Any]]:
    found = []
    for size in SIZES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
            found.append(own.submit(measure, size).result())
    return found


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    record("acs_scale", rows(), as_json=as_json)


if __name__ == "__main__":
    main()
