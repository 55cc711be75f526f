"""Replace methods on single instances, and put back exactly what was there."""

from collections.abc import Callable
from typing import Any

from torch import nn

ABSENT: Any = object()


class Swaps:
    """Methods replaced so far."""

    def __init__(self) -> None:
        self._undo: list[tuple[nn.Module, str, Any]] = []

    def replace(self, module: nn.Module, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Replace a method by what `make` builds around it; other instances of the class keep theirs."""
        self._undo.append((module, name, module.__dict__.get(name, ABSENT)))
        module.__dict__[name] = make(getattr(module, name))

    def undo(self) -> None:
        """Put everything back, last change first."""
        while self._undo:
            module, name, before = self._undo.pop()
            if before is ABSENT:
                module.__dict__.pop(name, None)
            else:
                module.__dict__[name] = before
