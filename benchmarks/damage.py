"""What becomes of a campaign whose files are damaged: every case must be recovered to the same digests, or refused in one line.

    python -m benchmarks.damage --cases 10000 --seed 1      # prints the table, writes damage.csv; some minutes on one core

Two small campaigns are made once through the store and the rounds, with devices that answer at random from their keys
(tests/pretend_campaign.py). Each case copies one, damages a file by its seed, and then lists it, shows it, resumes it to its end.
"""

import contextlib
import functools
import os
import random
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import pretend_campaign
from pretend_campaign import ROUNDS, SPEC, keep_shards, result, run

from benchmarks.damage_kinds import KINDS
from benchmarks.rows import arguments, record
from fedquad import spec_text
from fedquad.cli.campaign import _row
from fedquad.errors import ChangedSpecError, FedquadError, SpecError, StoreError
from fedquad.store import campaign
from fedquad.store.campaign import CampaignFolder, existing
from flows import edge

PATIENCE_SECONDS = 20
OUTCOMES = ("recovered", "refused", "believed", "silent", "other")


class Hung(BaseException):
    """A case that took longer than any can."""


@dataclass(frozen=True)
class Place:
    """A home with one campaign, and what it holds in the end if nothing is damaged."""

    home: Path
    figures: Any  # what is shown of it as it stands
    result: Any  # what it comes to

    @property
    def files(self) -> list[Path]:
        return [path for path in sorted(self.home.rglob("*")) if path.is_file()]


def make(home: Path, until: int) -> Place:
    """A campaign of so many rounds, and its end computed beside it."""
    folder = CampaignFolder(home / "campaigns" / "c")
    with folder.open(SPEC):
        run(folder, until=until)
    figures = folder.summarise()
    shutil.copytree(home, home.with_name(f"{home.name}-end"))
    end = CampaignFolder(home.with_name(f"{home.name}-end") / "campaigns" / "c")
    with folder.open(SPEC):
        run(end)
    return Place(home, figures, result(end))


@contextlib.contextmanager
def within(seconds: int) -> Iterator[None]:
    """End what hangs."""

    def stop(*_: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def case(place: Place, number: int, seed: int, room: Path) -> tuple[str, str, str, str]:
    """One damage and what came of it: (kind, file, outcome of showing, outcome of resuming), with the reason where it is none."""
    draw = random.Random(f"{seed}/{number}")
    home = room / "home"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(place.home, home, symlinks=True)
    here = [home / path.relative_to(place.home) for path in place.files]
    while True:
        kind, path = draw.choice(list(KINDS)), draw.choice(here)
        if KINDS[kind](draw, path, [other for other in here if other != path]):
            break
    os.environ["FEDQUAD_HOME"] = str(home)
    shown = _outcome(lambda: _show(home), place.figures, kind)
    resumed = _outcome(lambda: _resume(), place.result, kind)
    return kind, str(path.relative_to(home)), shown, resumed


def _show(home: Path) -> Any:
    row = _row(CampaignFolder(home / "campaigns" / "c"))
    assert ("error" in row) == (row["state"] == "broken")
    folder = existing("c")
    found = folder.summarise()
    folder.status(found)
    return found


def _resume() -> Any:
    folder = existing("c")
    spec = edge.typed(folder.stored_spec())
    with folder.open(spec):
        has_finished = folder.check()
    if has_finished:
        folder.write_summary()
        for arm in folder.arms():
            arm.is_tracked()
        with folder.open(spec):
            keep_shards(folder)
            for arm in folder.arms():
                arm.open()
    else:
        with folder.open(spec):
            run(folder)
    assert folder.check()
    return result(folder)


def _outcome(what: Any, expected: Any, kind: str) -> str:
    try:
        with within(PATIENCE_SECONDS):
            found = what()
    except (StoreError, SpecError, ChangedSpecError) as error:
        return "refused" if str(error).strip() and "\n" not in str(error) else f"other: {error!r} has several lines"
    except (Exception, Hung) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        name = "of ours, of another class" if isinstance(error, FedquadError) else "unexpected"
        return f"other: {name} {type(error).__name__}: {error} at {Path(where.filename).name}:{where.lineno}"
    return "recovered" if found == expected else "believed" if kind == "forge" else "silent"


def cases(count: int, seed: int, first: int = 0) -> list[tuple[str, str, str, str]]:
    """So many cases, half of a stopped campaign and half of a finished one; the environment is left as it was."""
    before, campaign.read_yaml = os.environ.get("FEDQUAD_HOME"), _parsed
    with pretend_campaign.room() as room:
        places = [make(room / "stopped", 3), make(room / "finished", ROUNDS)]
        found = [case(places[number % 2], number, seed, room) for number in range(first, first + count)]
    campaign.read_yaml = spec_text.read_yaml
    os.environ.pop("FEDQUAD_HOME", None)
    if before is not None:
        os.environ["FEDQUAD_HOME"] = before
    return found


@functools.lru_cache
def _parsed(*text: Any, **how: Any) -> Any:
    """Half of all time, if every look at a spec.yaml parsed the same text again."""
    return spec_text.read_yaml(*text, **how)


def table(found: list[tuple[str, str, str, str]]) -> list[dict[str, Any]]:
    """A row a kind of damage: how many cases ended how, shown and resumed."""
    rows = []
    for kind in KINDS:
        mine = [row for row in found if row[0] == kind]
        for what, at in (("shown", 2), ("resumed", 3)):
            counted = Counter(row[at].partition(":")[0] for row in mine)
            rows.append({"damage": kind, "then": what, **{outcome: counted[outcome] for outcome in OUTCOMES}})
    return rows


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found = cases(given.cases, given.seed)
    rows = [{"seed": given.seed, **row} for row in table(found)]
    record("damage", rows, as_json=given.json)
    for number, row in enumerate(found):
        if any(outcome.startswith(("silent", "other")) for outcome in row[2:]):
            print(number, *row, file=sys.stderr)


if __name__ == "__main__":
    main()
