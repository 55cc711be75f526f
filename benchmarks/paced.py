"""What the two free choices of `fedquad:paced` are worth: the power of the gain, and how updates of unlike length are merged.

    python -m benchmarks.paced               # runs what paced.csv lacks, campaign by campaign; half an hour on two cores
    python -m benchmarks.paced --summary     # only reads paced.csv

Powers are compared on the preset `baselines` as it is (alpha 10), merges at alpha 10, 1 and 0.1, three seeds. A row a round and arm.
"""

import argparse
import json

from benchmarks import first
from benchmarks.rows import HERE

KEPT = HERE / "paced.csv"
SEEDS = (0, 1, 2)
POWERS = {f"power {power:g}": {"power": power} for power in (0.0, 0.5, 1.0)}
MERGES = {f"merge {merge}": {"merge": merge} for merge in ("mean", "steps", "normalised")}
ALPHAS = {"10": {**POWERS, **MERGES}, "1": MERGES, "0.1": MERGES}


def campaign(alpha: str, labels: list[str]) -> first.Setting:
    """One campaign of these arms."""
    arms = [
        {"method": "fedquad:paced", "label": label.replace(" ", "-"), "params": ALPHAS[alpha][label]}
        for label in labels
    ]
    return first.Setting("paced", f"alpha {alpha}", (f"data.alpha={alpha}", f"arms={json.dumps(arms)}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--summary", action="store_true", help="only read the kept rows")
    given = parser.parse_args()
    for seed in () if given.summary else SEEDS:
        for alpha, labels in ALPHAS.items():
            there = {
                row["label"]
                for row in first.kept(KEPT)
                if row["setting"] == f"alpha {alpha}" and row["seed"] == str(seed)
            }
            if lacking := [label for label in labels if label.replace(" ", "-") not in there]:
                first.keep(first.run(campaign(alpha, lacking), seed), KEPT)
    for alpha in ALPHAS:
        print("\n".join(first.summary(first.Setting("paced", f"alpha {alpha}"), first.kept(KEPT))))


if __name__ == "__main__":
    main()
