"""SIGTERM and SIGHUP end a command as Ctrl-C does: in good order, in one line.

Prefect puts a handler of its own on SIGTERM while a flow runs. The signals are blocked instead, and a thread that waits for them
passes them on as SIGINT.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOPS = {signal.SIGTERM, signal.SIGHUP}


@contextmanager
def as_interrupts() -> Iterator[None]:
    """Inside, and in threads begun inside, the signals arrive as SIGINT."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    threading.Thread(target=_pass_on, daemon=True, name="stops").start()
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pass_on() -> None:
    while True:
        signal.sigwait(STOPS)
        os.kill(os.getpid(), signal.SIGINT)
