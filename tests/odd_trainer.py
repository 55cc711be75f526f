"""A device's trainer that trains for real and then, in rounds named by a script, does what it must not; for tests.

python tests/odd_trainer.py FOLDER DATA '{"2": "nan", "3": "truncated", "4": "held"}'

A device that is held takes no step until FOLDER/go-ROUND is there.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from fedquad.onboard.folder import DeviceFolder
from fedquad.onboard.trainer import Trainer, serve
from fedquad.rounds import adapters


class OddTrainer(Trainer):
    def __init__(self, folder: DeviceFolder, data: Path, script: Mapping[str, str]) -> None:
        super().__init__(folder, str(data))
        self.script = script
        self.kept: dict[str, Any] = {}

    @property
    def delta(self) -> Path:
        return self.folder.outbox / "delta.safetensors"

    def train(self, request: Mapping[str, Any], beat: Callable[[int], None]) -> dict[str, Any]:
        deed = self.script.get(str(request["round"]), "")

        go = self.folder.path / f"go-{request['round']}"

        def step(number: int) -> None:
            (self.folder.path / f"round-{request['round']}").touch()
            while deed == "held" and not go.exists():
                beat(number)
                time.sleep(0.1)
            beat(number)

        answer = super().train(request, step)
        old, self.kept = self.kept, {"answer": json.loads(json.dumps(answer)), "delta": self.delta.read_bytes()}
        if deed == "stale":
            self.delta.write_bytes(old["delta"])
            return old["answer"]  # type: ignore[no-any-return]
        if deed == "foreign":
            answer["device"] += 1
        if deed == "truncated":
            self.delta.write_bytes(self.delta.read_bytes()[:-100])
        if deed == "huge":
            with self.delta.open("r+b") as file:  # sparse: 64 MB, where 200 kB were asked
                file.truncate(64_000_000)
        if deed in ("nan", "wrong layer"):
            tensors = load_file(self.delta)
            if deed == "nan":
                name = sorted(tensors)[0]
                tensors[name] = np.full_like(tensors[name], np.nan)
            else:
                tensors = {name.replace("layers.11.", "layers.99."): value for name, value in tensors.items()}
            save_file(tensors, self.delta)
            answer["delta"] = adapters.tensors_digest(tensors)
        return answer


def main() -> None:
    folder = DeviceFolder(Path(sys.argv[1]))
    folder.make()
    shutil.rmtree(folder.outbox, ignore_errors=True)
    folder.make()
    serve(OddTrainer(folder, Path(sys.argv[2]), json.loads(sys.argv[3])))


if __name__ == "__main__":
    main()
