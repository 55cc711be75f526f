"""Python's search for garbage, spared what large libraries define: it goes through all there is whenever enough is new, and once more at exit.

with garbage.seldom_sought():       # a ninth less for torch and transformers, a fifth for Prefect's server
    import torch                    # from here on, what is there by now is not gone through again
garbage.leave_at_exit()             # what the system takes back at once: Python takes 0.8 s of a process that knows Prefect
"""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

USUAL = gc.get_threshold()
SELDOM = (100_000, 20, 100)


@contextmanager
def seldom_sought() -> Iterator[None]:
    """Seek less often until the block ends, and never again in what is there by then, if anything was imported."""
    known = len(sys.modules)
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        if len(sys.modules) > known:  # a second time in one process would keep what that one has done since
            gc.freeze()
        gc.set_threshold(*USUAL)


def leave_at_exit() -> None:
    """Call it early: it is then the last thing done at exit."""
    atexit.register(gc.freeze)
