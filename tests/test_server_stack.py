"""The production stack's files name only what the pinned versions know: Prefect's settings, MLflow's variables and options, our modules."""

import configparser
import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

STACK = Path(__file__).parents[1] / "deployments" / "server"
UNITS = sorted((STACK / "systemd").glob("*.service"))
OURS = {"FEDQUAD_DATABASE_URL", "FEDQUAD_HOME", "FEDQUAD_HOST", "FEDQUAD_PREFECT", "FEDQUAD_MLFLOW"}
POSTGRES = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}  # of the image postgres
TEXTS = [STACK / "compose.yaml", STACK / "server.env.example", STACK.parents[1] / "docs" / "server.md", *UNITS]


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((STACK / "compose.yaml").read_text())
    return document


def prefects_names() -> set[str]:
    """Every environment variable of Prefect's settings."""
    from prefect.settings.legacy import _get_settings_fields
    from prefect.settings.models.root import Settings

    return set(_get_settings_fields(Settings))


def mlflows_names() -> set[str]:
    from mlflow import environment_variables

    found = {one.name for one in vars(environment_variables).values() if hasattr(one, "name")}
    return found | {option.envvar for option in mlflows_server().params if option.envvar}


def mlflows_server() -> Any:
    from mlflow.cli import cli

    return cli.commands["server"]


def commands() -> list[list[str]]:
    """Every command that the stack starts."""
    found = [shlex.split(one["command"]) for one in compose()["services"].values() if "command" in one]
    for unit in UNITS:
        (line,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
        words = shlex.split(line.removeprefix("ExecStart="))
        found.append([Path(words[0]).name, *words[1:]])
    return found


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_variable_is_one_that_somebody_reads(path: Path) -> None:
    named = set(re.findall(r"\b((?:PREFECT|MLFLOW|FEDQUAD|POSTGRES)_[A-Z_]+[A-Z])(?!\*|_\*)\b", path.read_text()))
    assert named
    assert named - OURS - POSTGRES - prefects_names() - mlflows_names() == {"MLFLOW_AUTH_ADMIN"} & named


def test_every_option_of_a_server_is_one_that_it_takes() -> None:
    from prefect.cli.server import start  # type: ignore[attr-defined]

    known = {option for parameter in mlflows_server().params for option in parameter.opts}
    tried = set()
    for program, *arguments in commands():
        options = {word for word in arguments if word.startswith("--")}
        if program == "mlflow":
            assert arguments[0] == "server"
            assert options <= known, options - known
        elif program == "prefect":
            assert arguments[:2] == ["server", "start"]
            assert options <= {f"--{name.replace('_', '-')}" for name in start.__annotations__}, options
        else:
            assert (program, arguments[0]) == ("python", "-m")
            assert importlib.util.find_spec(arguments[1]) is not None
        tried.add(program)
    assert tried == {"mlflow", "prefect", "python"}


def test_nothing_but_the_proxy_listens_beyond_the_machine() -> None:
    for name, service in compose()["services"].items():
        for port in service.get("ports", ()):
            assert name == "proxy" or port.startswith("127.0.0.1:"), (name, port)
    for program, *arguments in commands()[-len(UNITS) :]:
        assert "--host" not in arguments or arguments[arguments.index("--host") + 1] == "127.0.0.1", program


def test_no_command_line_and_no_file_holds_a_password() -> None:
    for words in commands():
        assert not any("@" in word or "password" in word.lower() for word in words)
    example = (STACK / "server.env.example").read_text()
    values = dict(line.split("=", 1) for line in example.splitlines() if "=" in line and not line.startswith("#"))
    secret = {key: value for key, value in values.items() if key.endswith(("PASSWORD", "KEY", "AUTH_STRING"))}
    assert len(secret) >= 6
    assert set(secret.values()) <= {"", "fedquad:"}


def test_mlflows_rules_are_read_as_meant() -> None:
    from mlflow.server.auth import permissions
    from mlflow.server.auth.config import AuthConfig

    rules = configparser.ConfigParser()
    rules.read(STACK / "mlflow-auth.ini")
    assert set(rules["mlflow"]) <= set(AuthConfig._fields)
    assert permissions.get_permission(rules["mlflow"]["default_permission"]).can_read is False


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_unprivileged_and_ends_with_all_it_started(unit: Path) -> None:
    text = unit.read_text()
    for line in (
        "User=fedquad",
        "EnvironmentFile=/etc/fedquad/server.env",
        "KillMode=mixed",
        "UMask=0077",
        "NoNewPrivileges=yes",
    ):
        assert line in text.splitlines()
    assert "TimeoutStopSec=" in text
