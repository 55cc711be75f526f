"""Find what can be named: strategies, boards, objectives, presets, data sets. Each is one file, found by its module name; nothing is registered.

A strategy may also come from an installed package (entry point group `fedquad.strategies`) or from a file the user names
(`./my_method.py:variant`). This module alone reads the package's own files.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

from fedquad.errors import MethodError, SpecError, UnknownNameError, one_of
from fedquad.fleets.boards import Board
from fedquad.objective import Objective
from fedquad.rounds.paced import paced
from fedquad.rounds.strategy import Strategy

ENTRY_POINTS = "fedquad.strategies"
ALSO = re.compile(r"^also: \[(.*)\]$", re.MULTILINE)
PACED = "paced"  # a variant that every method has: its own plan, with steps by time


def modules(package: str) -> tuple[str, ...]:
    """Names of the modules of a package, as users write them: `mini_nli` is mini-nli."""
    paths = importlib.import_module(package).__path__
    return tuple(sorted(found.name for found in pkgutil.iter_modules(paths) if not found.name.startswith("_")))


def boards() -> Mapping[str, Board]:
    """Every board's profile, by name (`jetson-tx2` is devices/jetson_tx2.py)."""
    return {
        name.replace("_", "-"): importlib.import_module(f"fedquad.fleets.devices.{name}").BOARD
        for name in modules("fedquad.fleets.devices")
    }


def objectives() -> tuple[str, ...]:
    """Kinds of tasks that there are."""
    return modules("fedquad.objectives")


def objective(name: str) -> Objective:
    """The kind of task of that name."""
    if name not in objectives():
        raise one_of("objective (data.objective)", name, list(objectives()))
    found: Objective = importlib.import_module(f"fedquad.objectives.{name}").OBJECTIVE
    return found


def presets() -> tuple[str, ...]:
    folder = files("fedquad.presets")
    return tuple(sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")))


def preset(name: str) -> str:
    """The YAML text of a preset, by any of its names."""
    if (own := preset_name(name)) not in presets():
        raise one_of("preset", name, presets())
    return _preset_text(own)


def preset_name(name: str) -> str:
    """The name of a preset that may also be called otherwise (`also: [paper-fig8a]`); any other name is itself."""
    known = presets()
    if name in known:
        return name
    return next((own for own in known if name in other_names(own)), name)


def other_names(name: str) -> tuple[str, ...]:
    """What else a preset is called: the figures and tables that are read off the same campaign."""
    line = ALSO.search(_preset_text(name))
    return tuple(other.strip() for other in line[1].split(",")) if line else ()


def _preset_text(name: str) -> str:
    return (files("fedquad.presets") / f"{name}.yaml").read_text(encoding="utf-8")


def preset_line(name: str) -> str:
    """A preset's first comment line: what it is for."""
    first = preset(name).splitlines()[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def strategies() -> tuple[str, ...]:
    """Methods that can be named, without their variants."""
    return tuple(sorted({*modules("fedquad.strategies"), *(point.name for point in entry_points(group=ENTRY_POINTS))}))


def variants(method: str) -> tuple[str, ...]:
    """What may follow a method's colon; its module lists them as VARIANTS, the default first."""
    return tuple(getattr(_module(method), "VARIANTS", ()))


def remark(method: str) -> str:
    """What must be said wherever a method's results are shown; its module says it as REMARK, most have none."""
    name = method.partition(":")[0]
    return str(getattr(_module(name), "REMARK", "")) if name in strategies() else ""


def is_file(method: str) -> bool:
    """Whether a method is a file somebody names, rather than one that is installed."""
    return _name(method).endswith(".py")


def source(method: str) -> Path | None:
    """The file a method's code comes from; None for the package's own, which versions tell."""
    name = _name(method)
    if name in modules("fedquad.strategies"):
        return None
    return Path(name) if is_file(method) else Path(str(_module(name).__file__))


def _name(method: str) -> str:
    return method.rpartition(":")[0] if ":" in method else method


def strategy(method: str, params: Mapping[str, Any] | None = None) -> Strategy:
    """Make the strategy that `fedlora:oracle` names, with its hyper-parameters."""
    name, _, variant = method.rpartition(":") if ":" in method else (method, "", "")
    make, known = _maker(name), variants(name)
    if variant == PACED and PACED not in known:
        return paced(strategy(name, params))
    if variant and known and variant not in known:
        raise one_of(f"variant of {name}", variant, (*known, PACED))
    accepted = [p for p in inspect.signature(make).parameters if p != "variant"]
    if "variant" not in inspect.signature(make).parameters and variant:
        raise UnknownNameError(f"method {name!r} has no variant but {PACED!r}, and {variant!r} was asked for")
    for key in params or {}:
        if key not in accepted:
            raise SpecError(f"method {name!r} has no parameter {key!r}; it has: {', '.join(accepted) or 'none'}")
    made = make(**({"variant": variant} if variant else {}), **(params or {}))
    if not isinstance(made, Strategy):
        raise MethodError(
            f"{name}.strategy(...) returned {type(made).__name__}; it must return a fedquad.rounds.strategy.Strategy"
        )
    return made


def _maker(name: str) -> Callable[..., Strategy]:
    make = getattr(_module(name), "strategy", None)
    if not callable(make):
        raise MethodError(f"method {name!r} defines no function `strategy`; see fedquad/strategies/fedlora.py")
    return make  # type: ignore[no-any-return]


def _module(name: str) -> ModuleType:
    if name.endswith(".py"):
        return _load_file(Path(name))
    if name in modules("fedquad.strategies"):
        return importlib.import_module(f"fedquad.strategies.{name}")
    for point in entry_points(group=ENTRY_POINTS, name=name):
        return importlib.import_module(point.value.partition(":")[0])
    raise one_of("method", name, strategies())


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UnknownNameError(f"there is no file {str(path)!r} to load a method from")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
