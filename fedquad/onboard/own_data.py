"""A device's own examples: a folder of its owner's, or, for a device that has none, some of an embedded task, drawn by its name."""

import json
from pathlib import Path

from fedquad.errors import DeviceError
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
    made = sorted(name for name in task_names() if name.startswith(EMBEDDED) and _has_classes(name))
    if data not in made:
        raise DeviceError(f"--data is {data!r}: there is no such folder, and the embedded tasks are {', '.join(made)}")
    folder = device.path / "data" / data
    if not (folder / "train.jsonl").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        files.write_bytes(folder / "train.jsonl", rows(data, device.name).encode())
    return folder


def _has_classes(name: str) -> bool:
    """What devices of their own learn is classification alone (tasks/prepare.py)."""
    return find_task(DataSpec(name=name)).objective == "classification"


def rows(task_name: str, device: str) -> str:
    """Examples as JSON lines, in the task's columns and labels; another device has others."""
    task = find_task(DataSpec(name=task_name))
    seed = int(stream("own data", device).integers(2**31))
    table = task.load(Request(split="train", size=MADE_EXAMPLES, seed=seed))
    lines = (
        {**{name: table.columns[name][row] for name in task.columns}, "label": task.labels[label]}
        for row, label in enumerate(table.labels)
    )
    return "".join(json.dumps(line) + "\n" for line in lines)
