"""README's commands work as written: each `$ fedquad ...` line of its code blocks, in order, in one home.

A line that takes longer than a test of every day may is run with `-m server`: everything that runs a campaign.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONG = ("fedquad campaign run", "fedquad campaign verify", "fedquad campaign resume", "fedquad profile", "fedquad up")


def commands(text: str) -> list[str]:
    """The commands of the bash blocks; one that ends in a backslash goes on in the next line."""
    blocks = re.findall(
        r"^```(?:bash|console|sh)\n(.*?)^```", text.replace("\\\n", " "), flags=re.MULTILINE | re.DOTALL
    )
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if line.startswith("fedquad ")]


COMMANDS = commands((ROOT / "README.md").read_text(encoding="utf-8"))


def run(command: str, home: Path, folder: Path = ROOT) -> None:
    environment = {
        **os.environ,
        "FEDQUAD_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        shlex.split(command), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def needs_a_campaign(command: str) -> bool:
    return re.match(r"fedquad campaign (show|report|compare)", command) is not None


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith(LONG) and not needs_a_campaign(c)])
def test_a_short_command_of_the_readme_works(command: str, tmp_path: Path) -> None:
    run(command, tmp_path)


@pytest.mark.server
@pytest.mark.timeout(1200)
def test_the_readme_works_from_top_to_bottom(tmp_path: Path) -> None:
    for command in COMMANDS:
        run(command, tmp_path)


def test_commands_are_found_in_code_blocks() -> None:
    text = (
        "```bash\n$ fedquad campaign run \\\n    --rounds 2   # two\nfedquad doctor\nmake test\n```\n\n`fedquad up`\n"
    )
    assert commands(text) == ["fedquad campaign run      --rounds 2", "fedquad doctor"]
