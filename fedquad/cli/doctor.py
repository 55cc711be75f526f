"""`fedquad doctor`: what is installed, what works here, what to do about the rest."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

LEAST_FREE_BYTES = 2 * 10**9
ANSWER_SECONDS = 60  # a cold import of torch on a loaded machine
FASTAPI_BROKEN = (0, 151)  # from here on it refuses what Prefect 3.8's client sends; pip check is clean
TORCH = """
import json, torch
from fedquad.learn import half
gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
width = 0 if gpu or not half.bf16_pays(half.LEAST_WIDTH) else half.LEAST_WIDTH
print(json.dumps({"gpu": gpu, "cuda": torch.version.cuda or "", "bf16_from": width}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. `state` is ok, note (works without) or broken."""

    name: str
    state: str
    found: str
    advice: str = ""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False) -> None:
    """Say what is installed, what works here, and what to do about the rest."""
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        findings = list(pool.map(lambda check: check(), CHECKS))
    if as_json:
        from fedquad.store.environment import environment

        print(json.dumps({"findings": [asdict(f) for f in findings], "environment": environment(1)}, indent=1))
    else:
        _print(findings)
    broken = [f for f in findings if f.state == "broken"]
    if broken:
        from fedquad.errors import DeviceError

        raise DeviceError(f"not everything works here: {'; '.join(f'{f.name}: {f.advice or f.found}' for f in broken)}")


def _print(findings: list[Finding]) -> None:
    from rich.table import Table

    from fedquad.cli import tables

    styles = {"ok": "green", "note": "yellow", "broken": "red"}
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for finding in findings:
        advice = f"\n{finding.advice}" if finding.advice else ""
        table.add_row(finding.name, f"[{styles[finding.state]}]{finding.state}[/]", f"{finding.found}{advice}")
    tables.console().print(table)


def _python() -> Finding:
    import platform

    found = f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores"
    enough = sys.version_info >= (3, 11)
    return Finding(
        name="python", state="ok" if enough else "broken", found=found, advice="" if enough else "campaigns need 3.11"
    )


def _torch() -> Finding:
    failure, answer = _ask(TORCH)
    version = installed_version("torch")
    if failure:
        return Finding(name="torch", state="broken", found=f"{version}: {failure}", advice="pip install 'fedquad[all]'")
    if gpu := json.loads(answer)["gpu"]:
        return Finding(name="torch", state="ok", found=f"{version} with {gpu}")
    built = json.loads(answer)["cuda"]
    why = f"built for CUDA {built}, but no NVIDIA GPU answers" if built else "a build without CUDA"
    return Finding(
        name="torch", state="ok", found=f"{version} on the CPU ({why}){_of_bf16(json.loads(answer)['bf16_from'])}"
    )


def _of_bf16(width: int) -> str:
    return f"; models of width {width} and more train faster here with model.precision=bf16" if width else ""


def _transformers() -> Finding:
    failure, _ = _ask("import transformers, peft; from transformers import AutoModelForSequenceClassification")
    found = f"{installed_version('transformers')}, peft {installed_version('peft')}"
    if failure:
        return Finding(
            name="transformers", state="broken", found=f"{found}: {failure}", advice="pip install 'fedquad[all]'"
        )
    return Finding(name="transformers", state="ok", found=found)


def _prefect() -> Finding:
    return _installed("prefect", "orchestrates campaigns")


def _mlflow() -> Finding:
    return _installed("mlflow", "keeps curves and adapters")


def _installed(package: str, purpose: str) -> Finding:
    version = installed_version(package)
    if version == "not installed":
        return Finding(
            name=package, state="broken", found=f"{version}; it {purpose}", advice="pip install 'fedquad[all]'"
        )
    return Finding(name=package, state="ok", found=version)


def _fastapi() -> Finding:
    version = installed_version("fastapi")
    works = version != "not installed" and tuple(int(part) for part in version.split(".")[:2]) < FASTAPI_BROKEN
    advice = "" if works else "pip install 'fastapi<0.151': newer ones break Prefect's server"
    return Finding(name="fastapi", state="ok" if works else "broken", found=version, advice=advice)


def _home() -> Finding:
    """Whether campaigns can be written, and how much room there is."""
    import shutil
    import tempfile

    from fedquad.store.campaign import home

    path = home()
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            free = shutil.disk_usage(nearest).free
    except OSError as error:
        return Finding(
            name="FEDQUAD_HOME",
            state="broken",
            found=f"{path}: {error.strerror}",
            advice="set it to a folder you can write",
        )
    advice = "" if free >= LEAST_FREE_BYTES else "make room: a campaign with a large model needs some GB"
    return Finding(
        name="FEDQUAD_HOME", state="note" if advice else "ok", found=f"{path}, {free / 1e9:.1f} GB free", advice=advice
    )


def _servers() -> Finding:
    """Whether the servers that were named answer; without any, campaigns use files and a server of their own."""
    named = {key: os.environ.get(key, "") for key in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")}
    asked = {key: url for key, url in named.items() if url.startswith(("http://", "https://"))}
    if not asked:
        return Finding(name="servers", state="ok", found="none named; campaigns bring what they need")
    silent = [f"{key}={url}" for key, url in asked.items() if not _answers(url)]
    if silent:
        return Finding(
            name="servers",
            state="note",
            found=f"no answer from {', '.join(silent)}",
            advice="start them, or unset these variables",
        )
    return Finding(name="servers", state="ok", found=", ".join(asked.values()))


def _answers(url: str) -> bool:
    """Whether anything speaks HTTP there; an error page counts, as a server with a password gives one."""
    import urllib.error
    import urllib.request

    try:
        urllib.request.urlopen(url, timeout=3).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _ask(program: str) -> tuple[str, str]:
    """Run a program in a Python of its own, since a broken package can take its process with it; (failure, output)."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {ANSWER_SECONDS} s", ""
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it died without a word"])[-1], ""
    return "", done.stdout


def installed_version(package: str) -> str:
    from fedquad.store import environment  # 12 ms that `--help` can do without

    return environment.installed_version(package)


CHECKS: tuple[Callable[[], Finding], ...] = (
    _python,
    _torch,
    _transformers,
    _prefect,
    _mlflow,
    _fastapi,
    _home,
    _servers,
)
