"""Python's search for garbage, spared what large libraries define: it goes through all there is whenever enough is new, and once more at exit.

with garbage.seldom_sought():       # a sixth less for torch and transformers, a fifth for Prefect's server
    import torch                    # from here on, what is there by now is not gone through again
garbage.leave_at_exit()             # what the system takes back at once: Python takes 0.8 s of a process that knows Prefect
"""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

USUAL = gc.get_threshold()
SELDOM = (100_000, 20, 100)


@contextmanager
def seldom_sought() -> Iterator[None]:
    """Seek less often until the block ends, and never again in what it leaves."""
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*USUAL)


def leave_at_exit() -> None:
    """Call it early: it is then the last thing done at exit."""
    atexit.register(gc.freeze)
