"""What the command line says of damaged campaign folders: every command comes to the same figures, or refuses in one line.

    python -m benchmarks.damage_commands --cases 50 --seed 0     # some minutes on two cores; writes damage_commands.csv

One campaign really runs, and is stopped in the middle and at its end. Each case damages a copy of one of them by its seed, then lists,
shows and resumes it with the commands themselves; one case in five is verified before it is resumed.
"""

import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.damage_kinds import KINDS
from benchmarks.kills import NAME, Trial
from benchmarks.rows import arguments, record

OUTCOMES = ("as it was", "refused", "believed", "bad")
COMMANDS = {"list": ("list",), "show": ("show", NAME), "verify": ("verify", NAME), "resume": ("resume", NAME)}


def cases(
    count: int, seed: int, originals: list[Trial], wanted: dict[str, Any], verified_every: int = 5
) -> Iterator[dict[str, str]]:
    """What each command came to, for so many damages of these campaigns; `wanted` is what they come to undamaged."""
    for number in range(count):
        draw = random.Random(f"{seed}/{number}")
        trial = originals[number % len(originals)].copied(f"case-{number}")
        kind, path = _damage(draw, trial)
        is_verified = bool(verified_every) and number % verified_every == 0
        done = [name for name in COMMANDS if name != "verify" or is_verified]
        found = {name: outcome(trial, name, wanted, is_forged=kind == "forge") for name in done}
        shutil.rmtree(trial.folder)
        yield {"kind": kind, "file": path, **found}


def _damage(draw: random.Random, trial: Trial) -> tuple[str, str]:
    """Harm one file that a campaign goes on from; the databases of Prefect and MLflow are not among them."""
    held = [path for name in ("campaigns", "cache") for path in sorted((trial.home / name).rglob("*"))]
    files = [path for path in held if path.is_file() and path.name != "lock"]
    while True:
        kind, path = draw.choice(list(KINDS)), draw.choice(files)
        if KINDS[kind](draw, path, [other for other in files if other != path]):
            return kind, str(path.relative_to(trial.home))


def outcome(trial: Trial, name: str, wanted: dict[str, Any], *, is_forged: bool) -> str:
    """How one command ended, and with what words where that is bad."""
    process = trial.start("campaign", *COMMANDS[name], *(("--json",) if name in ("list", "show") else ()))
    out, err = process.communicate(timeout=300)
    *_, last = ["", *err.splitlines()]
    if "Traceback" in err or process.returncode < 0:
        return f"bad: {name} ended with {process.returncode}: {err[-500:]}"
    if process.returncode:
        is_line = last.startswith("fedquad: ") and process.returncode not in (1, 2)
        return "refused" if is_line else f"bad: {name} ended with {process.returncode}: {err[-500:]}"
    if name == "list" and json.loads(out)["campaigns"][0]["state"] == "broken":
        return "refused"
    if name == "show" and not _agrees(json.loads(out), wanted):
        return "believed" if is_forged else f"bad: it shows {out[:2000]}"
    if name == "resume" and (facts := trial.facts()) != wanted:
        return "believed" if is_forged else f"bad: resumed, it came to {facts}"
    return "as it was"


def _agrees(shown: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether the last state shown is that of an undamaged campaign after as many rounds; a recovered one may be behind."""
    (arm,) = shown["arms"]
    last = [None, *wanted["states"]][len(arm["rounds"])]
    return bool(arm["state_digest"] == last)


def originals(folder: Path) -> tuple[list[Trial], dict[str, Any]]:
    """A campaign stopped after its third round, the same at its end, and what it comes to."""
    stopped = Trial(folder / "stopped")
    stopped.killed_at_rename(3, "after")
    finished = stopped.copied("finished")
    finished.finish()
    return [stopped, finished], finished.facts()


def table(found: list[dict[str, str]]) -> list[dict[str, Any]]:
    """A row a command: how many cases it ended how."""
    counted = {name: Counter(case[name].partition(":")[0] for case in found if name in case) for name in COMMANDS}
    return [{"command": name, **{one: counted[name][one] for one in OUTCOMES}} for name in COMMANDS]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="fedquad-damage-") as folder:
        for case in cases(given.cases, given.seed, *originals(Path(folder))):
            found.append(case)
            print(len(found), *case.items(), file=sys.stderr, flush=True)
    record("damage_commands", [{"seed": given.seed, **row} for row in table(found)], as_json=given.json)


if __name__ == "__main__":
    main()
