"""What dropout keeps of a device's numbers in a stack: 16 bits of the device's own stream for each.

    keeps = Keeps((seed, attempt, round, device))
    keeps.draw((8, 32, 64), 0.1)        # True for nine of ten

torch's own dropout takes two 32-bit draws of a Mersenne twister a number, a fifth of what a stack's step takes. A rate is kept to
1/65536, and `kept` is the share that is really kept.
"""

import math

import numpy as np

from fedquad import rng
from fedquad.types import Bools

LEVELS = 1 << 16


def kept(rate: float) -> float:
    """The share of numbers that dropout at this rate keeps."""
    return 1 - _dropped(rate) / LEVELS


def _dropped(rate: float) -> int:
    return min(round(rate * LEVELS), LEVELS - 1)


class Keeps:
    """One device's stream of a round."""

    def __init__(self, key: tuple[int | str, ...]) -> None:
        self._bits = rng.bits(*key, "stacked dropout")

    def draw(self, shape: tuple[int, ...], rate: float) -> Bools:
        """Which of so many numbers are kept."""
        size = math.prod(shape)
        words = self._bits.random_raw(-(-size // 4))  # 64 bits each
        return np.asarray(words.view(np.uint16)[:size].reshape(shape) >= np.uint16(_dropped(rate)))
