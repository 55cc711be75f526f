"""Text to a CampaignSpec, once, at the edge: a preset or a YAML file, then --methods, --rounds, --seeds and --set.

    fedquad campaign run quickstart --methods fedquad,fedlora:oracle --set training.batch=16

A file, as a preset, may build on a preset (`base: quickstart`) and say only what is different. Values of --set are read as YAML and typed by the spec. All that is wrong ends in one line, the key before the fault.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fedquad import discover
from fedquad.errors import SpecError, quoted, shown
from fedquad.spec import CampaignSpec, require
from fedquad.spec_text import SPEC_BYTES, keys, on_base, override, read_value, read_yaml

SHOWN_ERRORS = 4


def campaign_spec(
    source: str,
    *,
    methods: str | None = None,
    rounds: int | None = None,
    seeds: str | None = None,
    settings: Sequence[str] = (),
) -> CampaignSpec:
    """The spec that a command line describes, its methods checked."""
    return described(
        source,
        methods=_listed("--methods", methods) if methods is not None else None,
        rounds=rounds,
        seeds=[_whole("--seeds", seed) for seed in _listed("--seeds", seeds)] if seeds is not None else None,
        settings=dict(_assignment(setting) for setting in settings),
    )


def described(
    source: str,
    *,
    methods: Sequence[str] | None = None,
    rounds: int | None = None,
    seeds: Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    check: Callable[[CampaignSpec], None] | None = None,
) -> CampaignSpec:
    """The spec of a preset or file, changed as asked, its methods checked; `check` comes before any method's code is loaded."""
    data = _document(source)
    if methods is not None:
        data["arms"] = _arms(methods, data.get("arms"))
    if rounds is not None:
        data["rounds"] = rounds
    if seeds is not None:
        data["seeds"] = list(seeds)
    spec = typed(override(data, settings or {}))
    if check is not None:
        check(spec)
    check_methods(spec)
    return spec


def campaign_name(source: str) -> str:
    """What a campaign is called unless it is told: the preset's name, or the file's without its ending."""
    return Path(source).stem if _is_file(source) else discover.preset_name(source)


def typed(data: Mapping[str, Any]) -> CampaignSpec:
    """Plain data as a spec; every wrong key and value at once, in one line."""
    from pydantic import TypeAdapter, ValidationError  # 80 ms that `--help` can do without

    try:
        return TypeAdapter(CampaignSpec).validate_python(data)
    except ValidationError as error:
        faults = [_fault(fault) for fault in error.errors()]
        more = [f"and {len(faults) - SHOWN_ERRORS} more"] if len(faults) > SHOWN_ERRORS else []
        raise SpecError("; ".join([*faults[:SHOWN_ERRORS], *more])) from None


def check_methods(spec: CampaignSpec) -> None:
    """Make every arm's strategy once, so that a wrong name or parameter is found before anything starts."""
    for arm in spec.arms:
        try:
            discover.strategy(arm.method, arm.params)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise (
                error if isinstance(error, SpecError) else SpecError(f"arm {arm.name!r}: {shown(str(error))}")
            ) from error


def _document(source: str) -> dict[str, Any]:
    """A preset's or file's settings, on those of the preset that it names as its `base`."""
    data = read_yaml(*_text(source))
    if not _is_file(source):
        data.pop("also", None)
    if "base" not in data:
        return data
    base = data.pop("base")
    require(
        isinstance(base, str) and not _is_file(base), "base", base, "what a campaign builds on is a preset, by its name"
    )
    return on_base(data, _document(base))


def _text(source: str) -> tuple[str, str]:
    if not _is_file(source):
        return discover.preset(source), f"preset {source}"
    try:
        with open(source, "rb") as file:
            data = file.read(SPEC_BYTES + 1)
        require(len(data) <= SPEC_BYTES, source, f"over {SPEC_BYTES} bytes", "a campaign is no longer than that")
        return data.decode("utf-8"), source
    except (OSError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{shown(source)} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _is_file(source: str) -> bool:
    return source.endswith((".yaml", ".yml")) or "/" in source


def _arms(methods: Sequence[str], described: Any) -> list[dict[str, Any]]:
    """The arms asked for; one that the file describes, by label or method, keeps its parameters."""
    arms = [arm for arm in described if isinstance(arm, dict)] if isinstance(described, list) else []
    known = {name: arm for key in ("method", "label") for arm in arms if isinstance(name := arm.get(key), str)}
    return [known.get(method, {"method": method}) for method in methods]


def _listed(option: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise SpecError(f"{option} is {quoted(text)}, but it is a list like a,b without empty places")
    return names


def _whole(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SpecError(f"{option} holds {quoted(text)}, but whole numbers are needed") from None


def _assignment(setting: str) -> tuple[str, Any]:
    key, equals, value = setting.partition("=")
    if not equals or not all(key.split(".")):
        raise SpecError(f"--set {quoted(setting)} is not of the form key.path=value")
    return key, read_value(value, f"--set {shown(key)}: {quoted(value)}")


def _fault(fault: Mapping[str, Any]) -> str:
    """One pydantic error as `key: what is wrong`."""
    is_unknown = fault["type"] in ("unexpected_keyword_argument", "extra_forbidden")
    path = [str(part) for part in fault["loc"] if part != "[key]" or is_unknown]
    key, found = shown(".".join(path)), quoted(fault["input"])
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    if is_unknown:
        return f"{key}: there is no such setting; {_alternatives(path)}"
    if fault["type"] in ("dataclass_type", "dataclass_exact_type", "mapping_type", "dict_type"):
        return f"{key or 'a campaign'}: a group of settings is needed, not {found}"
    return f"{key}: {fault['msg'][0].lower()}{fault['msg'][1:]}, not {found}"


def _alternatives(path: Sequence[str]) -> str:
    """The settings beside a wrong one, the likeliest first."""
    *parents, last = path
    names = _siblings(parents)
    close = get_close_matches(last, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}"


def _siblings(parents: Sequence[str]) -> list[str]:
    from fedquad.spec import ArmSpec

    if parents[:1] == ["arms"]:
        return [name for name, _ in keys(ArmSpec)]
    prefix = "".join(f"{part}." for part in parents)
    inside = [name.removeprefix(prefix) for name, _ in keys(CampaignSpec) if name.startswith(prefix)]
    return [name for name in inside if "." not in name]
