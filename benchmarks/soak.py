"""As many simulated rounds as one likes, with every kind of fault; see tests/simulator.py.

    python -m benchmarks.soak --rounds 200000 --seed 0       # make soak; writes soak.csv

Stops at the first invariant that does not hold, with the seed that shows it again:

    python -m benchmarks.soak --rounds 1 --seed 4711
"""

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from simulator import Broken, Simulation

from benchmarks.rows import arguments, record


def run(rounds: int, seed: int) -> dict[str, Any]:
    """Play campaign after campaign until so many rounds were committed."""
    campaigns = played = compared = stops = broken = 0
    began = time.process_time()
    while played < rounds:
        simulation = Simulation(seed + campaigns)
        try:
            played += simulation.run()
        except Broken as error:
            print(error, file=sys.stderr)
            broken += 1
            break
        campaigns, compared, stops = campaigns + 1, compared + simulation.clean, stops + simulation.stops
    seconds = time.process_time() - began
    return {
        "rounds": played,
        "seed": seed,
        "campaigns": campaigns,
        "compared_with_a_run_without_faults": compared,
        "kills_and_full_disks": stops,
        "broken": broken,
        "rounds_a_second": round(played / seconds, 1),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = run(given.rounds, given.seed)
    record("soak", [found], as_json=given.json)
    if found["broken"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
