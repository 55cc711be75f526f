"""The project's only source of randomness: a generator derived from a key, so that nothing depends on call order.

`stream(seed, attempt, round, device, "training")` is the same generator on every machine and in every process, and
independent of `stream(seed, attempt, round, device, "dropout")`.
"""

import hashlib

import numpy as np


def stream(*key: int | str) -> np.random.Generator:
    """Return the generator that belongs to this key and to no other."""
    return np.random.Generator(np.random.Philox(_seed(*key)))


def bits(*key: int | str) -> np.random.BitGenerator:
    """Return a source of plain bits of this key, which takes half the time."""
    return np.random.SFC64(_seed(*key))


def _seed(*key: int | str) -> np.random.SeedSequence:
    # Integers and strings are told apart (7 is not "7"), and the separator keeps ("a", "b") from being ("ab",).
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    words = np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype="<u4")
    return np.random.SeedSequence([int(word) for word in words])
