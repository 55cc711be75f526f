"""A spec as text and as plain data: YAML, dotted keys (`training.batch`), and what differs between two.

override({"rounds": 10}, {"training.batch": 4})  # {"rounds": 10, "training": {"batch": 4}}
differences({"rounds": 10}, {"rounds": 20})      # ["rounds: 10 -> 20"]
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

import yaml

from fedquad.errors import SpecError
from fedquad.spec import CampaignSpec


class _WithoutAliases(yaml.SafeLoader):
    """Refuses aliases: nested ones make gigabytes of a page of text, and what we write has none."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds an alias")
        return super().compose_node(parent, index)


def read_yaml(text: str, where: str, has_aliases: bool = True) -> dict[str, Any]:
    """Parse a YAML mapping; `where` names the source in errors."""
    try:
        data = yaml.load(text, yaml.SafeLoader if has_aliases else _WithoutAliases)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:  # of its constructors
        raise SpecError(f"{where} holds a value that is none: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        why = " ".join(str(getattr(error, "problem", None) or error).split())  # some of its reasons have two lines
        raise SpecError(f"{where}{line} is not YAML: {why}") from None
    if not isinstance(data, dict):
        raise SpecError(f"{where} holds {type(data).__name__}, but a campaign is a mapping of settings")
    return data


def write_yaml(spec: CampaignSpec) -> str:
    return yaml.safe_dump(plain(spec), sort_keys=False, allow_unicode=True)


def plain(record: Any) -> Any:
    """A record of scalars, tuples and mappings as JSON-ready dicts and lists."""
    return json.loads(json.dumps(asdict(record) if is_dataclass(record) and not isinstance(record, type) else record))


def override(data: Mapping[str, Any], assignments: Mapping[str, Any]) -> dict[str, Any]:
    """Set dotted keys (`training.batch`) in a nested mapping; whether such keys exist is checked when it becomes a spec."""
    result: dict[str, Any] = json.loads(json.dumps(data))
    for key, value in assignments.items():
        *parents, last = key.split(".")
        level: Any = result
        for parent in parents:
            level = _arm(level, parent, key) if isinstance(level, list) else level.setdefault(parent, {})
            if not isinstance(level, dict | list):
                raise SpecError(f"{key!r} cannot be set: {parent!r} is {level!r}, not a group of settings")
        if isinstance(level, list):
            raise SpecError(f"{key!r} cannot be set: write {'.'.join(parents)}.LABEL.KEY")
        level[last] = value
    return result


def _arm(arms: list[Any], name: str, key: str) -> Any:
    """The arm of that label or method in a plain spec."""
    named = {known: arm for arm in arms for known in (arm.get("method"), arm.get("label")) if known}
    if name not in named:
        raise SpecError(f"{key!r} cannot be set: there is no arm {name!r}; there are: {', '.join(named)}")
    return named[name]


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Name what differs between two plain specs: `rounds: 10 -> 20`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = list(dict.fromkeys([*old, *new]))
        return [
            line for key in keys for line in differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]


def keys(record: type, prefix: str = "") -> list[tuple[str, str]]:
    """Every dotted key of a spec with its description, for help texts."""
    found: list[tuple[str, str]] = []
    for item in fields(record):
        name = f"{prefix}{item.name}"
        found.append((name, item.metadata["description"]))
        if isinstance(item.type, type) and is_dataclass(item.type):
            found += keys(item.type, f"{name}.")
    return found
