"""`campaign verify`: compare rounds computed again with those stored, and say what differs around them."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedquad.spec import CampaignSpec
from fedquad.store.campaign import CampaignFolder, home
from fedquad.store.environment import environment


@contextmanager
def elsewhere() -> Iterator[Path]:
    """A home for a while, with the caches of the real one and a tracking store of its own."""
    before = {key: os.environ.get(key) for key in ("FEDQUAD_HOME", "MLFLOW_TRACKING_URI")}
    cache = home() / "cache"
    with tempfile.TemporaryDirectory(prefix="fedquad-verify-") as folder:
        if cache.exists():
            (Path(folder) / "cache").symlink_to(cache)
        os.environ["FEDQUAD_HOME"] = folder
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        try:
            yield Path(folder)
        finally:
            for key, value in before.items():
                os.environ.pop(key, None) if value is None else os.environ.__setitem__(key, value)


def compare(stored: CampaignFolder, computed: Path, spec: CampaignSpec, rounds: int) -> dict[str, Any]:
    """Compare the state's digest of each arm's first rounds; what both sides have is compared."""
    again = CampaignFolder(computed)
    found = [
        {
            "label": arm.name,
            "seed": seed,
            "round": old["round"],
            "stored": old["state_digest"],
            "computed": new["state_digest"],
        }
        for arm in spec.arms
        for seed in spec.seeds
        for old, new in zip(stored.arm(arm.name, seed).rounds()[:rounds], again.arm(arm.name, seed).rounds())
    ]
    return {
        "campaign": stored.name,
        "rounds_compared": len(found),
        "differences": [row for row in found if row["stored"] != row["computed"]],
        "inputs": _changed(stored.summarise()["digests"], again.summarise()["digests"]),
        "environment": _changed(stored.summarise()["environment"], environment(spec.training.threads)),
    }


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {key: {"stored": old.get(key), "now": value} for key, value in new.items() if old.get(key) != value}


def describe(document: Mapping[str, Any]) -> str:
    """The comparison for people, a line per round that differs."""
    count, wrong = document["rounds_compared"], document["differences"]
    if not count:
        return f"campaign {document['campaign']}: every digest is right; no round was computed again"
    if not wrong:
        return f"campaign {document['campaign']}: {count} rounds computed again, all bits the same"
    lines = [
        f"{d['label']} s{d['seed']} round {d['round']}: stored {d['stored'][:12]}, now {d['computed'][:12]}"
        for d in wrong
    ]
    return "\n".join([f"campaign {document['campaign']}: {len(wrong)} of {count} rounds differ", *lines])


def blame(document: Mapping[str, Any]) -> str:
    """What differs besides the bits: data and devices first, then the environment."""
    first = document["differences"][0]
    around = {**document["inputs"], **document["environment"]}
    named = "; ".join(f"{key}: {_short(change['stored'])} -> {_short(change['now'])}" for key, change in around.items())
    where = f"{first['label']} s{first['seed']} differs from round {first['round']} on"
    return f"campaign {document['campaign']!r}: {where}; {named or 'machine, versions and threads are the same'}"


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text
