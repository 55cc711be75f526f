"""What can go wrong at our boundary, each with the exit code that `fedquad` ends with (docs/exit-codes.md lists them).

A message says what is wrong, what was found and what to do, in one line. Anything that is not one of these is a bug and keeps
its traceback.
"""


class FedquadError(Exception):
    """Something the user can act on."""

    exit_code = 1


class SpecError(FedquadError, ValueError):
    """The campaign as described cannot be run: an unknown key, a value out of range, settings that contradict each other.

    A ValueError too, so that pydantic reports one that is raised inside a form as that field's fault.
    """

    exit_code = 3


class UnknownNameError(SpecError):
    """A preset, method, board, data set or campaign that does not exist; the message lists those that do."""

    exit_code = 4


class StoreError(FedquadError):
    """The disk refused: read-only, nearly full, or a file that is not what its digest says."""

    exit_code = 5


class LockedError(FedquadError):
    """Another process is working on the same campaign."""

    exit_code = 6


class ChangedSpecError(FedquadError):
    """A campaign of this name exists with another spec; the message names the difference."""

    exit_code = 7


class ArmFailedError(FedquadError):
    """At least one arm of the campaign ended without finishing; the others are complete."""

    exit_code = 8


class MethodError(FedquadError):
    """A strategy returned a plan or a merge that breaks its contract."""

    exit_code = 9


class DifferenceError(FedquadError):
    """`campaign verify` computed other bits than are stored."""

    exit_code = 10


class DeviceError(FedquadError):
    """The machine at hand cannot do this: a model that will not load, data that is not there, a missing package."""

    exit_code = 11


class ServiceError(FedquadError):
    """A server that is needed does not answer: Prefect, MLflow or a work pool."""

    exit_code = 12


class ExchangeError(FedquadError):
    """A content cannot be sent or had: its place is out of reach, or what lies there is missing, too large or another."""

    exit_code = 13


def shown(text: str, most: int = 200) -> str:
    """What was found, fit for a line: printable, and cut where it is long."""
    cut = text if len(text) <= most else f"{text[:most]}..."
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in " ".join(cut.split()))


def quoted(value: object) -> str:
    """A value as Python writes it, fit for a line."""
    try:
        return shown(repr(value))
    except (RecursionError, ValueError):  # ValueError: whole numbers beyond 4300 digits
        return f"a {type(value).__name__} too large to show"


def one_of(kind: str, found: str, known: tuple[str, ...] | list[str]) -> UnknownNameError:
    """Say that `found` is no such kind of thing, and which there are."""
    return UnknownNameError(f"there is no {kind} {quoted(found)}; there are: {', '.join(sorted(known)) or 'none'}")
