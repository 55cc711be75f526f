"""The command line answers at once, and imports nothing heavy to do so."""

import resource
import subprocess
import sys
from pathlib import Path

FEDQUAD = Path(sys.executable).with_name("fedquad")
HEAVY = ("prefect", "mlflow", "torch", "transformers", "pydantic", "matplotlib", "numpy")


def test_help_answers_in_under_400_milliseconds() -> None:
    """Of CPU, the least of five: on an idle machine that is the wall time, on a loaded one it still says something."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([FEDQUAD, "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(5)) < 0.4


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    program = f"import fedquad.cli.main, sys; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def test_help_names_every_command() -> None:
    said = subprocess.run([FEDQUAD, "--help"], check=True, capture_output=True, text=True).stdout
    assert all(f" {name} " in said for name in ("campaign", "device", "doctor"))
    said = subprocess.run([FEDQUAD, "campaign", "--help"], check=True, capture_output=True, text=True).stdout
    assert all(f" {name} " in said for name in ("run", "list", "show", "resume", "presets", "verify"))
