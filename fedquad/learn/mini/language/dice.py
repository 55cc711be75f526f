"""Cheap draws from one generator: a NumPy call per number costs more than building the sentence it decides."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

_BLOCK = 8192


class Dice:
    """Uniform draws, taken from the generator a block at a time."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._block: list[float] = []

    def uniform(self) -> float:
        if not self._block:
            self._block = self._generator.random(_BLOCK).tolist()
        return self._block.pop()

    def chance(self, probability: float) -> bool:
        return self.uniform() < probability

    def below(self, bound: int) -> int:
        return int(self.uniform() * bound)

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.uniform() * len(choices))]

    def other(self, choices: Sequence[T], taken: T) -> T:
        """Pick a choice that is not `taken`."""
        while (choice := self.pick(choices)) == taken:
            pass
        return choice
