"""How long MLflow takes to be sent a large campaign at once: 100 arms of 50 rounds, into SQLite, as after a server that was away.

    python -m benchmarks.tracking_many            # writes tracking_many.csv; wanted: at most 60 s
    python -m benchmarks.tracking_many --json     # prints the row

Facts are made up (tests/big_campaign.py). `seconds` is the wall's, from the first arm's run to the last one's end, once MLflow is
imported and its tables are there; `cpu_seconds` is this process's, which is what an idle machine takes.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import big_campaign

from benchmarks.rows import arguments, record
from fedquad.spec import CampaignSpec
from tasks.track import Tracker

ARMS, ROUNDS = 100, 50


def measure(name: str, spec: CampaignSpec) -> dict[str, Any]:
    folder = big_campaign.make(name, spec)
    tracker = Tracker(folder, spec)
    began, spent = time.monotonic(), time.process_time()
    for arm in spec.arms:
        for seed in spec.seeds:
            assert tracker.send(arm.name, arm.method, seed, finished=True) == ""
    return {
        "arms": len(spec.arms) * len(spec.seeds),
        "rounds": spec.rounds,
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - spent, 1),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    with tempfile.TemporaryDirectory() as home:
        os.environ["FEDQUAD_HOME"] = home
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        measure("warm", big_campaign.spec(big_campaign.METHODS[:1], seeds=1, rounds=1))
        labels = tuple(f"{method}-v{at}" for method in big_campaign.METHODS for at in range(12))[:ARMS]
        rows = [measure("many", big_campaign.spec(labels, seeds=1, rounds=ROUNDS))]
    record("tracking_many", rows, as_json=as_json)


if __name__ == "__main__":
    main()
