"""What a result was computed with: bits are promised for one machine type, these versions and one thread a process."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fedquad.store.processor import processor

PACKAGES = ("fedquad", "numpy", "torch", "transformers", "peft", "safetensors", "prefect", "mlflow")


def environment(threads: int) -> dict[str, str | int]:
    """Machine, versions and threads as flat facts; versions are read without importing anything."""
    return {
        "machine": f"{processor()}, {platform.machine()}",
        "system": f"{platform.system()} {platform.release()}",
        "cores": os.cpu_count() or 1,
        "threads": threads,
        "python": platform.python_version(),
        **{package: installed_version(package) for package in PACKAGES},
        "commit": _commit(),
    }


def installed_version(package: str) -> str:
    """A package's version, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """The checkout's commit, with + when files differ from it; empty when this is no checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    head, changes = (
        _git(root, "rev-parse", "--short=12", "HEAD"),
        _git(root, "status", "--porcelain", "--untracked-files=no"),
    )
    return f"{head}+" if head and changes else head


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
