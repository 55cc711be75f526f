"""What a round sends out and what comes back of it, on disk while the round lasts; worth nothing afterwards.

sent-1f3a....safetensors    what devices start from, each content once
device-0007.safetensors     a device's delta
device-0007.json            its answer; written last, so an answer that is there is whole
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from fedquad.rounds import adapters
from fedquad.store import files
from fedquad.types import Adapter


@dataclass(frozen=True, slots=True)
class Spool:
    """The spool of one arm."""

    path: Path

    def clear(self) -> None:
        """Begin anew in a folder of its own; a link laid in its place goes, and what it leads to stays."""
        if self.path.is_symlink():
            files.remove(self.path)
        shutil.rmtree(self.path, ignore_errors=True)

    def send(self, adapter: Adapter) -> tuple[str, str]:
        """Write an adapter where devices read it, and return where, with its digest; the same content is written once."""
        tensors = adapters.flatten(adapter)
        digest = adapters.tensors_digest(tensors)
        path = self.path / f"sent-{digest[:16]}.safetensors"
        if not path.exists():
            files.write_tensors(path, tensors)
        return str(path), digest

    def out(self, kind: str, device: int) -> str:
        """Where a device's delta goes."""
        return str(self._stem(kind, device).with_suffix(".safetensors"))

    def put(self, kind: str, device: int, document: bytes) -> None:
        """Keep an answer as it came; the gate reads it. Whatever lies in its way was laid there, and goes."""
        path = self._stem(kind, device).with_suffix(".json")
        for planted in (path, files.temporary_of(path)):
            if os.path.lexists(planted):
                files.remove(planted)
        files.write_bytes(path, document)

    def _stem(self, kind: str, device: int) -> Path:
        return self.path / f"{kind}-{device:04d}"
