"""Python's search for garbage: seldom while libraries are imported, not among what they define, not at exit."""

import gc
import subprocess
import sys

import pytest

from fedquad import garbage

A_CIRCLE = """
import gc
from fedquad import garbage
class Told:
    def __init__(self): self.itself = self
    def __del__(self): print("found")
gc.disable()
told = Told()
del told
"""


def test_what_is_imported_is_not_gone_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before, there = gc.get_freeze_count(), gc.get_threshold()
    try:
        with garbage.seldom_sought():
            assert gc.get_threshold() == garbage.SELDOM
        assert gc.get_threshold() == garbage.USUAL == there
        assert gc.get_freeze_count() == before  # nothing was imported
        with garbage.seldom_sought():
            monkeypatch.setitem(sys.modules, "imported_just_now", gc)
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


@pytest.mark.parametrize(("last", "said"), [("", "found\n"), ("garbage.leave_at_exit()", "")])
def test_nothing_is_sought_at_exit(last: str, said: str) -> None:
    found = subprocess.run([sys.executable, "-c", A_CIRCLE + last], capture_output=True, text=True, check=True)
    assert found.stdout == said
