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
    """Inside, and in threads begun inside, the signals arrive as SIGINT.

    One that is ignored stays so: that is what `nohup` asks for. SIGINT itself is ignored where a shell's `&` began the command; it is
    heeded inside, or what is passed on would never arrive.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded = {one for one in STOPS if signal.getsignal(one) is not signal.SIG_IGN}
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, heeded)
    threading.Thread(target=_pass_on, args=(heeded,), daemon=True, name="stops").start()
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if interrupt is signal.SIG_IGN:
            signal.signal(signal.SIGINT, interrupt)


def _pass_on(heeded: set[signal.Signals]) -> None:
    while True:
        signal.sigwait(heeded)
        os.kill(os.getpid(), signal.SIGINT)
