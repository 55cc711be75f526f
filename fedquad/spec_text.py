"""A spec as text and as plain data: YAML, dotted keys (`training.batch`), and what differs between two.

override({"rounds": 10}, {"training.batch": 4})  # {"rounds": 10, "training": {"batch": 4}}
differences({"rounds": 10}, {"rounds": 20})      # ["rounds: 10 -> 20"]
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

import yaml

from fedquad.errors import SpecError, quoted, shown
from fedquad.spec import CampaignSpec

SPEC_BYTES = 2**20
MOST_DEPTH = 50  # of lists and mappings in each other; a campaign has four
NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")  # YAML 1.1 reads 3e-3 as text; people mean the number
DATE = "tag:yaml.org,2002:timestamp"
PLAIN = {None, *(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map"))}


class _Loader(yaml.SafeLoader):
    """Reads what JSON can hold, each key once. No aliases: nested ones make gigabytes of a page of text, and a loop has no end."""

    yaml_constructors = {tag: made for tag, made in yaml.SafeLoader.yaml_constructors.items() if tag in PLAIN}  # noqa: RUF012
    yaml_implicit_resolvers = {  # noqa: RUF012 - a date stays the text it is
        first: [(tag, form) for tag, form in known if tag != DATE]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds an alias; write out what it stands for")
        self.depth += 1
        if (
            self.depth > MOST_DEPTH
        ):  # before the rest is read: that takes a time that grows with the square of the depth
            raise yaml.YAMLError(f"it is nested deeper than {MOST_DEPTH}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [name for name in names if names.count(name) > 1] if len(set(names)) < len(names) else []:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0][:100]!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes a text that would be read as a number."""


for _one in (_Loader, _Dumper):
    _one.add_implicit_resolver("tag:yaml.org,2002:float", NUMBER, list("-+0123456789"))


def read_value(text: str, where: str) -> Any:
    """Parse a YAML value; `where` names the source in errors."""
    try:
        return yaml.load(text, _Loader)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:  # of its constructors
        raise SpecError(f"{where} holds a value that is none: {shown(str(error))}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise SpecError(f"{where}{line} is not YAML: {shown(str(getattr(error, 'problem', None) or error))}") from None


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """Parse a YAML mapping; `where` names the source in errors."""
    data = read_value(text, where)
    if not isinstance(data, dict):
        raise SpecError(f"{where} holds {type(data).__name__}, but a campaign is a mapping of settings")
    return data


def on_base(data: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """A campaign that says only how it differs from another: of a group its keys, of anything else the whole."""
    groups = {
        key: {**base[key], **value}
        for key, value in data.items()
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
    }
    return {**base, **data, **groups}


def write_yaml(spec: CampaignSpec) -> str:
    return yaml.dump(plain(spec), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


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
                raise SpecError(
                    f"{quoted(key)} cannot be set: {quoted(parent)} is {quoted(level)}, not a group of settings"
                )
        if isinstance(level, list):
            raise SpecError(f"{quoted(key)} cannot be set: write {shown('.'.join(parents))}.LABEL.KEY")
        level[last] = value
    return result


def _arm(arms: list[Any], name: str, key: str) -> Any:
    """The arm of that label or method in a plain spec."""
    groups = [arm for arm in arms if isinstance(arm, dict)]
    named = {known: arm for arm in groups for known in (arm.get("method"), arm.get("label")) if isinstance(known, str)}
    if name not in named:
        there = shown(", ".join(named))
        raise SpecError(f"{quoted(key)} cannot be set: there is no arm {quoted(name)}; there are: {there}")
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
