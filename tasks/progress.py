"""Tell whoever watches (the CLI's live display, a log) what is going on, without knowing who that is.

An event is a name and facts: `announce("round", label="fedlora", seed=0, round=3, score=0.61, ...)`.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

Listener = Callable[[str, dict[str, Any]], None]

LISTENER: ContextVar[Listener | None] = ContextVar("fedquad_listener", default=None)


def announce(event: str, **facts: Any) -> None:
    listener = LISTENER.get()
    if listener is not None:
        listener(event, facts)
