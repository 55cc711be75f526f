"""The one place where torch's generator is seeded, always from a derived key, and always given back as it was found."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fedquad import rng


@contextmanager
def seeded(*key: int | str) -> Iterator[None]:
    """Run a block with torch's randomness (dropout) derived from the key."""
    with apart():
        torch.manual_seed(int(rng.stream(*key).integers(2**63)))
        yield


@contextmanager
def apart() -> Iterator[None]:
    """Run a block whose draws leave torch's generators as they were."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=devices):
        yield
