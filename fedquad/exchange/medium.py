"""What an exchange asks of the place its contents lie in. Names are digests; every failure is an ExchangeError."""

from typing import Protocol

from fedquad.errors import ExchangeError


class Away(ExchangeError):
    """A place that is out of reach for now: what is asked of it is worth another try."""


class Medium(Protocol):
    """A flat place for named contents."""

    @property
    def where(self) -> str:
        """The place, for messages; no secret is in it."""

    def size(self, name: str) -> int | None:
        """Bytes of a content; None where it is not there, or the place cannot tell."""

    def read(self, name: str, most: int) -> bytes | None:
        """The content, None if it is not there; more than `most` bytes are refused, before they are read if declared."""

    def write(self, name: str, content: bytes) -> None:
        """Lay a content down so that whoever finds it finds all of it, as far as the place allows."""

    def remove(self, name: str) -> None:
        """Remove a content, if it is there."""

    def names(self) -> tuple[str, ...]:
        """What lies there."""

    def close(self) -> None:
        """Remove the place itself once nothing of ours is in it, where it is one of its own."""


def too_large(where: str, found: str, most: int) -> ExchangeError:
    return ExchangeError(f"a content in {where} has {found} bytes, but at most {most} are taken")
