"""How large a report is and what it takes to write: campaigns of 1, 9 and 45 arms and fifty rounds, through the store's own writers.

    python -m benchmarks.report_size            # writes report_size.csv
    python -m benchmarks.report_size --json     # prints the rows

`cpu_seconds` is this process's, from reading the campaign to the last file, once matplotlib is imported; facts are made up (tests/big_campaign.py).
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
from tasks import report

METHODS = big_campaign.METHODS
SIZES = {
    "1 arm": big_campaign.spec(METHODS[:1], seeds=1),
    "9 methods, 1 seed": big_campaign.spec(seeds=1),
    "9 methods, 5 seeds": big_campaign.spec(),
    "45 labels, 1 seed": big_campaign.spec(tuple(f"{name}-v{at}" for name in METHODS for at in range(5)), seeds=1),
}


def measure(name: str, spec: CampaignSpec) -> dict[str, Any]:
    folder = big_campaign.make(name.replace(" ", "-").replace(",", ""), spec)
    began = time.process_time()
    page = report.write(folder)
    spent = time.process_time() - began
    return {
        "campaign": name,
        "arms": len(spec.arms) * len(spec.seeds),
        "rounds": spec.rounds,
        "page_bytes": page.stat().st_size,
        "folder_bytes": sum(path.stat().st_size for path in page.parent.rglob("*") if path.is_file()),
        "cpu_seconds": round(spent, 2),
    }


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as home:
        os.environ["FEDQUAD_HOME"] = home
        measure("warm", big_campaign.spec(METHODS[:1], seeds=1, rounds=1))
        rows = [measure(name, spec) for name, spec in SIZES.items()]
    record("report_size", rows, as_json=as_json)


if __name__ == "__main__":
    main()
