"""What this machine gets done in a second of a campaign, by model: $FEDQUAD_HOME/cache/speed.json, derived and good for nothing elsewhere.

    {"schema": 1, "machine": "...", "cores": 2, "rates": {"mini": {"flops_per_second": 1.2e10, "source": "campaign quickstart"}}}

The rate of the model `*` is a plain product of matrices, for models that no campaign has trained here.
"""

import os
from collections.abc import Mapping
from typing import Any

from fedquad.errors import StoreError
from fedquad.store import files
from fedquad.store.campaign import home
from fedquad.store.processor import processor
from fedquad.store.shape import typed

ANY = "*"
SHAPE = {"schema": int, "machine": str, "cores": int, "rates": {str: {"flops_per_second": float, "source": str}}}
Rates = Mapping[str, Mapping[str, Any]]


def rates() -> Rates:
    """What is known of this machine; nothing if the file is another machine's, damaged, or not there."""
    path = home() / "cache" / "speed.json"
    try:
        found: dict[str, Any] = typed(files.read_json(path), SHAPE, path) if path.exists() else {}
    except StoreError:
        return {}
    is_ours = all(found.get(key) == value for key, value in _identity().items())
    return {name: rate for name, rate in found["rates"].items() if rate["flops_per_second"] > 0} if is_ours else {}


def note(model: str, flops_per_second: float, source: str) -> None:
    """Remember a rate, in the place of the model's former one."""
    known = {**rates(), model: {"flops_per_second": flops_per_second, "source": source}}
    files.write_json(home() / "cache" / "speed.json", {**_identity(), "rates": known})


def _identity() -> dict[str, Any]:
    return {"schema": 1, "machine": processor(), "cores": len(os.sched_getaffinity(0))}
