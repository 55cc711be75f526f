"""What may be asked for by whoever fills in a form or reaches the API: methods by name, folders below those set apart for it.

The command line may name any path: who types there may read and run what they like anyway.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedquad import discover
from fedquad.errors import SpecError, quoted
from fedquad.spec import CampaignSpec
from fedquad.store.campaign import campaign, home
from flows import edge

ON_THE_HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")


def folders() -> list[Path]:
    """Where models, data and profiles may lie: FEDQUAD_FOLDERS, else models/ and data/ of the home."""
    named = os.environ.get("FEDQUAD_FOLDERS")
    paths = named.split(os.pathsep) if named else [str(home() / "models"), str(home() / "data")]
    return [Path(path).expanduser().resolve() for path in paths if path]


def asked(
    spec: CampaignSpec | None,
    preset: str,
    name: str,
    *,
    methods: Sequence[str] = (),
    rounds: int = 0,
    seeds: Sequence[int] = (),
    settings: Mapping[str, Any] | None = None,
) -> tuple[CampaignSpec, str]:
    """What a form or the API asks for, and the campaign's name, both checked before anything is made or started.

    A field that was left as it is, empty or 0, means the preset's.
    """
    if spec is None:
        names = [str(getattr(method, "value", method)) for method in methods]
        spec = edge.described(
            preset, methods=names or None, rounds=rounds or None, seeds=seeds or None, settings=settings, check=admit
        )
    admit(spec)
    edge.check_methods(spec)
    return spec, campaign(name or preset).name


def admit(spec: CampaignSpec) -> None:
    """Refuse a spec that would read or run something it has no business with."""
    for arm in spec.arms:
        if discover.is_file(arm.method):
            raise SpecError(
                f"arms.method is {quoted(arm.method)}, but through a form or the API methods are taken by name only; install it as a "
                f"package (entry point fedquad.strategies), or use the command line"
            )
    if spec.fleet.trace:
        raise SpecError("fleet.trace names a file, which a form or the API cannot; use the command line")
    if spec.fleet.exchange not in ("mlflow", os.environ.get("FEDQUAD_EXCHANGE")):
        raise SpecError(
            f"fleet.exchange is {quoted(spec.fleet.exchange)}, but through a form or the API it is `mlflow`, or what FEDQUAD_EXCHANGE of "
            f"the worker says"
        )
    if spec.fleet.engine_address not in ("", os.environ.get("FEDQUAD_ENGINE_ADDRESS")):  # Dask unpickles what it hears
        raise SpecError(
            f"fleet.engine_address is {quoted(spec.fleet.engine_address)}, but through a form or the API it is what "
            f"FEDQUAD_ENGINE_ADDRESS of the worker says; leave it empty"
        )
    for key, path in (("data.source", spec.data.source), ("cost.profile", spec.cost.profile)):
        if path:
            _check(key, path)
    _check_named("model.name", spec.model.name)
    if not spec.data.source:  # whose name is then asked of the Hub's library, which takes folders too
        _check_named("data.name", spec.data.name)


def _check_named(key: str, name: str) -> None:
    """Refuse what is neither a name, of the package's or the Hub's, nor a folder that may be read."""
    if not ON_THE_HUB.fullmatch(name) or os.path.exists(name):
        _check(key, name)


def _check(key: str, path: str) -> None:
    try:
        found = Path(path).expanduser().resolve()
    except (OSError, ValueError, RuntimeError) as error:  # too long, with a NUL, of no user, a loop of links
        raise SpecError(f"{key} is {quoted(path)}, which is no path: {error}") from None
    allowed = folders()
    if not any(found.is_relative_to(folder) for folder in allowed):
        raise SpecError(
            f"{key} is {quoted(path)}, but through a form or the API folders lie below {', '.join(map(str, allowed))} (FEDQUAD_FOLDERS)"
        )
