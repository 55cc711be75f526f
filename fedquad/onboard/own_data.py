"""A device's own examples: a folder of its owner's, or, for a device that has none, some of an embedded task, drawn by its name."""

import json
from pathlib import Path

from fedquad.errors import DeviceError
from fedquad.learn.local import CLASSES, as_written
from fedquad.learn.tables import Request
from fedquad.learn.task import find_task, task_names
from fedquad.onboard.folder import DeviceFolder
from fedquad.rng import stream
from fedquad.spec import DataSpec
from fedquad.store import files

MADE_EXAMPLES = 256
EMBEDDED = "mini-"


def folder_of(data: str, device: DeviceFolder) -> Path:
    """The folder of the device's examples; those of an embedded task are made once, and can then be read and changed."""
    path = Path(data).expanduser()
    if path.is_dir():
        return path.resolve()
    made = sorted(name for name in task_names() if name.startswith(EMBEDDED))
    if data not in made:
        raise DeviceError(f"--data is {data!r}: there is no such folder, and the embedded tasks are {', '.join(made)}")
    folder = device.path / "data" / data
    if not (folder / "train.jsonl").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        files.write_bytes(folder / "train.jsonl", rows(data, device.name).encode())
    return folder


def objective_of(data: str, asked: str) -> str:
    """What the labels are read for: as the owner says, as the embedded task has it, or as classes."""
    if asked or Path(data).expanduser().is_dir() or data not in task_names():
        return asked or CLASSES
    return find_task(DataSpec(name=data)).objective


def rows(task_name: str, device: str) -> str:
    """Examples as JSON lines, in the task's columns and, where it has such, labels; another device has others."""
    task = find_task(DataSpec(name=task_name))
    seed = int(stream("own data", device).integers(2**31))
    table = task.load(Request(split="train", size=MADE_EXAMPLES, seed=seed))
    is_told = task.objective == "causal_lm"  # whose columns hold the answers
    lines = (
        {
            **{name: table.columns[name][row] for name in task.columns},
            **({} if is_told else {"label": as_written(task, label)}),
        }
        for row, label in enumerate(table.labels)
    )
    return "".join(json.dumps(line) + "\n" for line in lines)
