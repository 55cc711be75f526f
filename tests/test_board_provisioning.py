"""deployments/jetson and docs/board.md: every command, option, setting, file and package named there exists; no secret is there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomllib
from packaging.requirements import Requirement
from typer.main import get_command

from fedquad.cli.main import app

ROOT = Path(__file__).parents[1]
JETSON = ROOT / "deployments" / "jetson"
PAGE = ROOT / "docs" / "board.md"
UNITS = sorted(JETSON.glob("*.service"))
IMAGES = sorted(JETSON.glob("*.Dockerfile"))
CONF = JETSON / "device.conf"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Long options as documented: docs.docker.com/reference/cli, docs.astral.sh/uv/reference/cli, pip's and Debian's manual pages,
# systemctl(1), journalctl(1). A program that is not here is not to be used.
DOCUMENTED = {
    "docker build": "--file --tag --build-arg",
    "docker run": "--rm --name --runtime --network --read-only --tmpfs --user --group-add --cap-drop --security-opt --env --volume",
    "docker rm": "--force",
    "docker stop": "--time",
    "uv venv": "--python",
    "uv pip": "--python --constraint --index-url",
    "pip install": "--no-cache-dir --upgrade --index-url",
    "apt-get update": "",
    "apt-get install": "--yes --no-install-recommends",
    "rm": "",
    "useradd": "--system --uid --home-dir",
    "install": "--directory --owner --mode",
    "sudoedit": "",
    "nvpmodel": "",
    "tegrastats": "",
    "systemctl daemon-reload": "",
    "systemctl enable": "--now",
    "journalctl": "--unit",
}
# systemd.unit(5), systemd.service(5) and systemd.exec(5) of version 245, JetPack 5's; a newer one ignores nothing of it.
DIRECTIVES = {
    "Unit": "Description Requires Wants After",
    "Service": "User EnvironmentFile Environment WorkingDirectory ExecStartPre ExecStart ExecStop Restart RestartSec TimeoutStopSec "
    "NoNewPrivileges CapabilityBoundingSet RestrictAddressFamilies RestrictSUIDSGID LockPersonality PrivateTmp ProtectHome "
    "ProtectSystem ReadWritePaths ProtectKernelModules ProtectKernelTunables ProtectControlGroups",
    "Install": "WantedBy",
}
# catalog.ngc.nvidia.com, l4t-jetpack, and the images that jetson-containers builds upon.
BASES = {"nvcr.io/nvidia/l4t-jetpack:r36.4.0", "nvcr.io/nvidia/l4t-jetpack:r35.4.1"}


def settings(unit: Path) -> list[tuple[str, str, str]]:
    """Section, directive and value of every line."""
    found, section = [], ""
    for line in re.sub(r"\\\n\s*", "", unit.read_text()).splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            directive, equals, value = line.partition("=")
            assert equals, f"{unit.name}: {line!r} sets nothing"
            found.append((section, directive, value))
    return found


def instructions(image: Path) -> list[tuple[str, str]]:
    """Instruction and argument of every line."""
    lines = (line for line in image.read_text().splitlines() if line and not line.startswith("#"))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def lines_of_page() -> Iterator[str]:
    """Commands of the page: lines of its blocks, and inline code that begins with a program."""
    programs = {name.split()[0] for name in DOCUMENTED} | {"fedquad", "pip", "sudo", "python3"}
    for number, part in enumerate(PAGE.read_text().split("```")):
        if number % 2:
            yield from part.strip().splitlines()
        else:
            yield from (
                code for code in re.findall(r"`([^`\n]+)`", part) if code.split()[0] in programs and " " in code
            )


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command, with the file that names it; one that another command runs comes by itself."""
    for unit in UNITS:
        for _, directive, value in settings(unit):
            if directive.startswith("Exec"):
                yield from unfolded(unit.name, shlex.split(value.lstrip("-")))
    for image in IMAGES:
        for word, rest in instructions(image):
            if word == "RUN":
                for part in rest.split("&&"):
                    yield from unfolded(image.name, shlex.split(part))
            elif word == "CMD":
                yield from unfolded(image.name, shlex.split(rest.strip("[]").replace(",", " ")))
    for line in lines_of_page():
        yield from unfolded(PAGE.name, shlex.split(line))


def unfolded(where: str, words: list[str]) -> Iterator[tuple[str, list[str]]]:
    while words[0] in ("sudo", "env") or "=" in words[0]:
        words = words[1:]
    if words[:2] == ["python3", "-m"]:
        words = words[2:]
    words = [Path(words[0]).name, *words[1:]]
    if words[:2] == ["docker", "run"] and "fedquad" in words:
        inner = words.index("fedquad")
        yield where, words[inner:]
        words = words[:inner]
    yield where, words


COMMANDS = list(commands())
OURS = [(where, words) for where, words in COMMANDS if words[0] == "fedquad"]
OTHERS = [(where, words) for where, words in COMMANDS if words[0] != "fedquad"]


def spelled(case: object) -> str:
    return case if isinstance(case, str) else " ".join(case)[:60]  # type: ignore[arg-type]


def test_both_services_are_named_by_unit_and_page() -> None:
    named = {(where, *words[1:3]) for where, words in OURS}
    assert {("fedquad-trainer.service", "device", "trainer"), ("fedquad-device.service", "device", "serve")} <= named
    assert ("board.md", "device", "status") in named


@pytest.mark.parametrize(("where", "words"), OURS, ids=spelled)
def test_every_command_of_ours_is_in_the_command_line_with_these_options(where: str, words: list[str]) -> None:
    command: Any = get_command(app)
    name: list[str] = []
    rest = list(words[1:])
    while hasattr(command, "commands") and rest and rest[0] in command.commands:
        name.append(rest.pop(0))
        command = command.commands[name[-1]]
    assert not hasattr(command, "commands"), f"{where}: there is no `{' '.join(words[:3])}`"
    given = {word.partition("=")[0] for word in rest if word.startswith("--")} - {"--help"}
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert given <= known, f"{where}: {given - known}"
    if rest and "--help" not in rest:
        needed = [
            set(parameter.opts)
            for parameter in command.params
            if parameter.required and parameter.param_type_name == "option"
        ]
        assert all(options & given for options in needed), f"{where}: {words} leaves out one of {needed}"


@pytest.mark.parametrize(("where", "words"), OTHERS, ids=spelled)
def test_every_other_command_is_a_documented_tool_with_documented_options(where: str, words: list[str]) -> None:
    name = next((name for name in (" ".join(words[:2]), words[0]) if name in DOCUMENTED), None)
    assert name is not None, f"{where}: {words[:2]} is no tool that the image or the board is known to have"
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given <= set(DOCUMENTED[name].split()), where


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_sets_only_what_the_oldest_systemd_knows(unit: Path) -> None:
    for section, directive, value in settings(unit):
        assert directive in DIRECTIVES[section].split(), f"[{section}] {directive}: systemd would ignore it"
        if directive.startswith("Exec"):
            assert value.lstrip("-").startswith("/"), value


def conf() -> dict[str, str]:
    lines = [line for line in CONF.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_what_the_units_ask_of_the_boards_file_is_there_and_nothing_else() -> None:
    text = "".join(unit.read_text() for unit in UNITS)
    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(conf())
    files = {value for unit in UNITS for _, directive, value in settings(unit) if directive == "EnvironmentFile"}
    assert files == {"/etc/fedquad/device.conf"}
    assert f"{CONF.relative_to(ROOT)} /etc/fedquad/device.conf" in PAGE.read_text()
    assert re.fullmatch(r"[a-z0-9-]{1,63}", conf()["NAME"])


def test_the_two_services_and_the_page_agree() -> None:
    units = {unit.stem: unit.read_text() for unit in UNITS}
    page = PAGE.read_text()
    home = "FEDQUAD_HOME=/var/lib/fedquad"
    assert all(home in text for text in units.values())
    assert all("--name ${NAME}" in text for text in units.values())
    assert "--data ${DATA} --model ${MODEL}" in units["fedquad-trainer"]
    assert "--no-trainer" in units["fedquad-device"]
    assert f"--uid {conf()['OWNER'].split(':')[0]} --home-dir /var/lib/fedquad fedquad" in page
    assert "/opt/fedquad/environment/bin/fedquad device serve" in units["fedquad-device"]
    assert "venv --python 3.11 /opt/fedquad/environment" in page
    assert "--mode 600 credentials.json /etc/fedquad/credentials.json" in page
    assert all("--tag fedquad-trainer ." in text for text in [page, *(image.read_text() for image in IMAGES)])


def test_the_trainer_has_no_network_no_credentials_and_nothing_to_write_but_its_folder() -> None:
    trainer = (JETSON / "fedquad-trainer.service").read_text()
    assert "--network none --read-only" in trainer
    assert "--cap-drop ALL --security-opt no-new-privileges" in trainer
    volumes = re.findall(r"--volume (\S+)", trainer)
    assert [volume for volume in volumes if not volume.endswith(":ro")] == ["/var/lib/fedquad:/var/lib/fedquad"]
    assert "credentials.json" not in trainer


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.name)
def test_an_image_is_built_of_a_known_base_and_of_what_the_package_is_made_of(image: Path) -> None:
    found = instructions(image)
    assert {rest for word, rest in found if word == "FROM"} <= BASES
    copied = {name.removeprefix("./") for word, rest in found if word == "COPY" for name in rest.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    assert {package.split("/")[0] for package in wheel} | {"pyproject.toml", PROJECT["readme"]} <= copied
    (torch,) = (
        rest.partition("=")[2].strip('"') for word, rest in found if word == "ARG" and rest.startswith("TORCH=")
    )
    asked = {Requirement(one).name: Requirement(one).specifier for one in PROJECT["optional-dependencies"]["learn"]}
    assert all(str(one) in torch for one in asked["torch"])


def test_the_extras_that_are_installed_exist_and_the_workers_has_no_torch() -> None:
    extras = PROJECT["optional-dependencies"]
    text = "".join(path.read_text() for path in [PAGE, *IMAGES])
    assert set(re.findall(r"\"\.\[(\w+)\]\"", text)) == {"learn", "worker", "all"} <= set(extras)
    names = {Requirement(one).name for one in extras["worker"]}
    assert "prefect" in names
    assert not names & {Requirement(one).name for one in extras["learn"]}
    assert "fedquad[worker]" in extras["all"]


def test_every_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"\b(?:deployments|docs|tests)/[\w./-]*\w", PAGE.read_text()))
    assert {"docs/data.md", "deployments/jetson/orin.Dockerfile"} <= named
    assert not [name for name in named if not (ROOT / name).exists()]
    assert not [name for name in re.findall(r"`(\w+\.Dockerfile)`", PAGE.read_text()) if not (JETSON / name).exists()]


SECRET = re.compile(
    r"(?i)BEGIN [A-Z ]*PRIVATE KEY|//[^/\s:]+:[^/\s@]+@|(?:password|passwd|token|secret|auth_string|api_key)\s*[=:]\s*\S"
    r"|(?<![\w./])[A-Za-z0-9+_-]{32,}={0,2}(?![\w./])"
)


@pytest.mark.parametrize("path", [*UNITS, *IMAGES, CONF, PAGE], ids=lambda path: path.name)
def test_no_file_holds_a_secret(path: Path) -> None:
    assert not SECRET.findall(path.read_text())


@pytest.mark.parametrize(
    "text",
    ["PREFECT_API_AUTH_STRING=a:b", "http://me:word@host", "password: x", "x" * 40, "-----BEGIN RSA PRIVATE KEY-----"],
)
def test_a_secret_would_be_seen(text: str) -> None:
    assert SECRET.search(text)
