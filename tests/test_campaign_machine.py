"""A campaign's folder under whatever a person and a machine do to it, in any order: start, stop, kill, resume, go back, look, verify,
damage a file, run it twice at once, change its spec, fill its disk. Hypothesis draws the order and shrinks what breaks.

The store, the rounds and what is handed out are the real ones; devices are those of pretend.py. What may never happen: a committed
round that changes or is lost, an end that is another than the undisturbed one's, an error that is not one line.
"""

import contextlib
import errno
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pretend_campaign
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pretend_campaign import ROUNDS, SPEC

from fedquad.errors import ChangedSpecError, FedquadError, LockedError
from fedquad.store.campaign import CampaignFolder
from flows import edge

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.damage_kinds import KINDS

HONEST = sorted(set(KINDS) - {"forge"})  # who can seal anew can write another history; damage.py tries that
WRITES = ("replace", "fsync", "unlink", "mkdir", "rename")
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
moments = st.integers(0, 60)  # the write at which something happens; a campaign has about a hundred
rounds = st.integers(1, ROUNDS)


class Killed(BaseException):
    """The process is gone."""


def killed() -> BaseException:
    return Killed()


def full() -> BaseException:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def at_write(moment: int, happens: Callable[[], BaseException], lasts: bool = False) -> Iterator[None]:
    """Let it happen at this write of the process, and, if it lasts, at all after it."""
    count, originals = 0, {name: getattr(os, name) for name in WRITES}

    def watching(original: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count == moment + 1 or (lasts and count > moment):
                raise happens()
            return original(*arguments, **more)

        return call

    for name, original in originals.items():
        setattr(os, name, watching(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


@cache
def undisturbed() -> tuple[dict[str, dict[int, str]], Any]:
    """Every round of every arm, and what the campaign comes to."""
    with pretend_campaign.room() as home:
        folder = CampaignFolder(home / "campaigns" / "c")
        with folder.open(SPEC):
            pretend_campaign.run(folder)
        return {arm.name: pretend_campaign.history(arm)[0] for arm in folder.arms()}, pretend_campaign.result(folder)


class Campaign(RuleBasedStateMachine):
    """One home, one campaign."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.home = self.stack.enter_context(pretend_campaign.room()) / "home"
        self.folder = CampaignFolder(self.home / "campaigns" / "c")
        self.promised: dict[str, int] = {}  # rounds that were there when a command had ended

    def resume(self, until: int = ROUNDS) -> None:
        """What `campaign run` and `campaign resume` do."""
        with self.folder.open(SPEC):
            self.folder.check()
            pretend_campaign.run(self.folder, until=until)

    def refused(self, work: Callable[[], Any]) -> str:
        """The one line in which a command ends that cannot go on; nothing when it can."""
        try:
            work()
        except FedquadError as error:
            said = str(error)
        else:
            return ""
        assert len(said.splitlines()) == 1, said
        return said

    @rule(until=rounds)
    def start_and_stop(self, until: int) -> None:
        self.resume(until)
        for arm in self.folder.arms():
            assert arm.last_number() >= until

    @rule(until=rounds, moment=moments)
    def kill(self, until: int, moment: int) -> None:
        with contextlib.suppress(Killed), at_write(moment, killed):
            self.resume(until)

    @rule(until=rounds, moment=moments)
    def fill_the_disk(self, until: int, moment: int) -> None:
        with at_write(moment, full, lasts=True):
            self.refused(lambda: self.resume(until))

    @precondition(lambda self: self.folder.exists())
    @rule()
    def verify_and_look(self) -> None:
        self.folder.check()
        shown = self.folder.summarise()
        assert self.folder.status(shown) in ("stopped", "finished")
        numbers = {f"{arm['label']}-s0": len(arm["rounds"]) for arm in shown["arms"]}
        assert all(numbers[name] == count for name, count in self.promised.items())

    @precondition(lambda self: self.folder.exists())
    @rule(number=rounds)
    def go_back(self, number: int) -> None:
        if not self.refused(lambda: self.folder.rewind(number)):
            self.promised = {name: min(count, number) for name, count in self.promised.items()}

    @precondition(lambda self: self.folder.exists())
    @rule(kind=st.sampled_from(HONEST), seed=st.integers(0, 2**16))
    def damage_a_file(self, kind: str, seed: int) -> None:
        """Damage one, and do what one would: look, resume; if that is refused, put the file back."""
        before = self.home.with_name("before")
        shutil.rmtree(before, ignore_errors=True)
        shutil.copytree(self.home, before)
        dice = random.Random(seed)
        files = [path for path in sorted(self.home.rglob("*")) if path.is_file() and path.name != "lock"]
        path = dice.choice(files)
        if not KINDS[kind](dice, path, [other for other in files if other != path]):
            return
        self.refused(self.folder.summarise)
        if self.refused(self.resume_as_stored):
            shutil.rmtree(self.home)
            shutil.copytree(before, self.home)

    def resume_as_stored(self) -> None:
        """`campaign resume`, which has the spec from the folder alone."""
        spec = edge.typed(self.folder.stored_spec())
        with self.folder.open(spec):
            self.folder.check()
            pretend_campaign.run(self.folder, spec)

    @rule()
    def run_it_twice_at_once(self) -> None:
        """Another process, a real one, holds it."""
        asked, answered = os.pipe(), os.pipe()
        child = os.fork()
        if not child:
            try:
                with self.folder.open(SPEC):
                    os.write(answered[1], b"1")
                    os.read(asked[0], 1)
            finally:
                os._exit(0)
        assert os.read(answered[0], 1) == b"1"
        try:
            with pytest.raises(LockedError, match=f"process {child}"):
                self.resume()
        finally:
            os.write(asked[1], b"1")
            os.waitpid(child, 0)
            for end in (*asked, *answered):
                os.close(end)

    @precondition(lambda self: self.folder.exists())
    @rule()
    def change_the_spec(self) -> None:
        with (
            pytest.raises(ChangedSpecError, match="exists with another spec"),
            self.folder.open(replace(SPEC, rounds=9)),
        ):
            pass

    @invariant()
    def what_was_committed_stays(self) -> None:
        wanted = undisturbed()[0]
        for arm in self.folder.arms() if self.folder.exists() else []:
            found = pretend_campaign.history(arm)[0]
            assert found == {n: wanted[arm.name][n] for n in range(1, len(found) + 1)}
            assert len(found) >= self.promised.get(arm.name, 0)
            self.promised[arm.name] = len(found)

    def teardown(self) -> None:
        try:
            self.resume()
            assert pretend_campaign.result(self.folder) == undisturbed()[1]
        finally:
            self.stack.close()


TestCampaign = Campaign.TestCase
TestCampaign.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=12,
    deadline=None,
    phases=(Phase.generate,),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
)
