"""Where the Prefect and MLflow servers are, and what opens them: $FEDQUAD_HOME/credentials.json, for its owner's eyes.

`fedquad up` writes it; on another machine it is a copy, with that server's addresses. What the environment says comes first.
"""

import os
import re
import stat
from collections.abc import MutableMapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from fedquad.errors import StoreError
from fedquad.store import files
from fedquad.store.campaign import home
from fedquad.store.shape import typed

ADDRESSES = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")
FILE_BYTES = 2**14
FIELD_LENGTH = 2000
PRINTABLE = re.compile(r"[\x21-\x7e]+")  # what a header and an environment variable bear


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Two addresses and what opens them; the passwords show in no representation."""

    prefect_url: str  # http://host:port/api
    prefect_auth: str  # user:password
    mlflow_url: str
    mlflow_user: str
    mlflow_password: str

    def __repr__(self) -> str:
        return f"Servers(prefect_url={self.prefect_url!r}, mlflow_url={self.mlflow_url!r})"


SHAPE = {field.name: str for field in fields(Servers)}


def credentials_path() -> Path:
    return home() / "credentials.json"


def read_servers(path: Path | None = None) -> Servers | None:
    """What the file says, or None where there is none; one that others may read or write is refused."""
    path = path or credentials_path()
    try:
        about = os.lstat(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISREG(about.st_mode) and about.st_mode & 0o077:
        raise StoreError(
            f"{path} holds passwords and its mode is {about.st_mode & 0o777:o}, so that others of this machine may read or change it; "
            f"`chmod 600 {path}` mends that, and if anyone may have looked, change the passwords (docs/server.md)"
        )
    document = typed(files.parse_json(files.read_bytes(path, FILE_BYTES), path), SHAPE, path)
    found = Servers(**{name: document[name] for name in SHAPE})
    _check(found, path)
    return found


def write_servers(servers: Servers, path: Path | None = None) -> Path:
    """Write the file, readable by its owner alone from its first byte on; returns where."""
    path = path or credentials_path()
    _check(servers, path)
    files.write_json(path, asdict(servers), mode=0o600)
    return path


def environment(servers: Servers) -> dict[str, str]:
    """The variables that Prefect's and MLflow's clients read."""
    return {
        "PREFECT_API_URL": servers.prefect_url,
        "PREFECT_API_AUTH_STRING": servers.prefect_auth,
        "MLFLOW_TRACKING_URI": servers.mlflow_url,
        "MLFLOW_TRACKING_USERNAME": servers.mlflow_user,
        "MLFLOW_TRACKING_PASSWORD": servers.mlflow_password,
    }


def into(environ: MutableMapping[str, str], servers: Servers | None, addresses: Sequence[str] = ADDRESSES) -> None:
    """Point clients at these servers, by the names of their addresses; one that has another address keeps it, and gets no password."""
    if servers is None:
        return
    given = environment(servers)
    for address in addresses:
        if environ.get(address, given[address]) == given[address]:
            for key in (key for key in given if key.startswith(address.partition("_")[0])):
                environ.setdefault(key, given[key])


def _check(servers: Servers, path: Path) -> None:
    """Refuse what is no address, or cannot be sent as a password; the message shows no password."""
    for name in SHAPE:
        value = getattr(servers, name)
        if not PRINTABLE.fullmatch(value) or len(value) > FIELD_LENGTH:
            raise StoreError(
                f"{path}: {name} is not 1 to {FIELD_LENGTH} printable letters without spaces; write it anew (docs/server.md)"
            )
    for name in ("prefect_url", "mlflow_url"):
        value = getattr(servers, name)
        if not _is_address(value):
            raise StoreError(
                f"{path}: {name} is no address like http://host:port; passwords do not belong into it, they have fields of their own"
            )
    user, colon, password = servers.prefect_auth.partition(":")
    if not (user and colon and password):
        raise StoreError(f"{path}: prefect_auth is not of the form user:password")


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
        )
    except ValueError:
        return False
