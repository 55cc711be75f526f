"""A device's own folder, $FEDQUAD_HOME/devices/NAME: for its owner's eyes alone.

trainer.sock     where the resident trainer listens, mode 600
trainer.json     what it has loaded and how fast it is; written after every job
transfer.json    what the last transfers took
data/            examples made for a device that has none of its own (`--data mini-nli`)
cache/           tokens, derived from its data
inbox/, outbox/  adapters it was sent, named by digest, and what it answers; worth nothing after the job
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedquad.errors import DeviceError, StoreError
from fedquad.fleets.reported import NAME
from fedquad.store import files
from fedquad.store.campaign import home

VARIABLE = "FEDQUAD_DEVICE"  # by which the flow that a worker starts finds the folder
NOTE_BYTES = 2**20
SOCKET_LENGTH = 100  # of its path; Linux allows 107


@dataclass(frozen=True, slots=True)
class DeviceFolder:
    """Where everything of one device lies."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def socket(self) -> Path:
        return self.path / "trainer.sock"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def inbox(self) -> Path:
        return self.path / "inbox"

    @property
    def outbox(self) -> Path:
        return self.path / "outbox"

    def received(self, kind: str, digest: str) -> Path:
        """Where an opening or an adapter of this digest lies."""
        if not (digest.isascii() and digest.isalnum()):
            raise DeviceError(f"an {kind} is named by its digest, not {digest[:80]!r}; the sender runs another version")
        return self.inbox / f"{kind}-{digest}"

    def make(self) -> None:
        """Have the folder and its rooms, closed to others."""
        if len(str(self.socket)) > SOCKET_LENGTH:
            raise DeviceError(
                f"the path {self.socket} is longer than a socket's may be ({SOCKET_LENGTH}); set FEDQUAD_HOME to a shorter one"
            )
        for folder in (self.path, self.inbox, self.outbox):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(self.path, 0o700)

    def note(self, name: str, document: Mapping[str, Any]) -> None:
        """Write trainer.json or transfer.json anew."""
        files.write_json(self.path / f"{name}.json", dict(document))

    def forget(self, name: str) -> None:
        """Remove a note that holds no more: its trainer has ended."""
        (self.path / f"{name}.json").unlink(missing_ok=True)

    def noted(self, name: str) -> dict[str, Any]:
        """What was written there last; empty where nothing is, or nothing that can be read."""
        path = self.path / f"{name}.json"
        try:
            found = files.parse_json(files.read_bytes(path, NOTE_BYTES), path)
        except StoreError:
            return {}
        return found if isinstance(found, dict) else {}


def device_folder(name: str) -> DeviceFolder:
    """The folder of the device of this name on this machine."""
    if not NAME.fullmatch(name):
        raise DeviceError(f"a device's name has small letters, digits and -, at most 63, but this is {name[:80]!r}")
    return DeviceFolder(home() / "devices" / name)


def own_folder() -> DeviceFolder:
    """The folder of the device whose worker started this process."""
    if not (path := os.environ.get(VARIABLE)):
        raise DeviceError(f"{VARIABLE} is not set: device runs are started by `fedquad device serve`")
    return DeviceFolder(Path(path))
