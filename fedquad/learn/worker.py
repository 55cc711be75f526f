"""A training process: reads one JSON job a line, answers one JSON line each, keeps its model loaded in between.

    {"op": "open", ...}      load model and data; the answer is the model's layout
    {"op": "train", ...}     carry out one assignment; the delta goes to the file the job names
    {"op": "evaluate", ...}  score an adapter on some rows of a split

The simulated fleet runs a pool of these; a device on a work pool runs one job in one. A job that fails answers with `error`.
"""

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fedquad import wire
from fedquad.errors import DeviceError, FedquadError
from fedquad.rounds import adapters
from fedquad.spec import DataSpec, ModelSpec, TrainingSpec
from fedquad.types import Adapter, Assignment

Job = dict[str, Any]


class Worker:
    """What stays in memory between jobs: one model, its data splits, the shards of each seed."""

    def __init__(self) -> None:
        self.trainee: Any = None
        self.splits: dict[str, Any] = {}
        self.shards: dict[str, dict[str, np.ndarray]] = {}

    def prepare(self, job: Job) -> Job:
        """Tokenise the data set into the cache, or find it there."""
        from fedquad.learn import tokens

        data, model = wire.from_json(DataSpec, job["data"]), wire.from_json(ModelSpec, job["model"])
        return tokens.prepare(data, model, job["seed"], Path(job["cache"]))

    def open(self, job: Job) -> Job:
        """Load the model at the greatest rank of the campaign, and the tokenised splits."""
        import torch

        from fedquad.learn import model, tokens

        torch.set_num_threads(job["threads"])
        self.trainee = model.load(wire.from_json(ModelSpec, job["model"]), job["labels"], job["greatest_rank"])
        self.splits = {name: tokens.read(Path(split["path"])) for name, split in job["splits"].items()}
        return {"layout": asdict(self.trainee.layout)}

    def train(self, job: Job) -> Job:
        """Train one assignment from the adapter that the job names by path and digest."""
        from fedquad.learn import loop

        assignment = wire.from_json(Assignment, job["assignment"])
        rows = self._shard(job["shards"], assignment.device)
        update = loop.train(
            self.trainee,
            assignment,
            self._adapter(job),
            self.splits["train"].rows(rows),
            training=wire.from_json(TrainingSpec, job["training"]),
            key=tuple(job["key"]),
            round=job["round"],
            based_on=job["digest"],
        )
        document, tensors = wire.answer(update)
        write(job["out"], tensors)
        return document

    def evaluate(self, job: Job) -> Job:
        """Count right and wrong over rows [start, stop) of a split."""
        from fedquad.learn import evaluate

        data = self.splits[job["split"]]
        scores = evaluate.evaluate(self.trainee, self._adapter(job), data, job["start"], job["stop"], job["batch"])
        return {"confusion": np.asarray(scores.confusion).tolist(), "loss_sum": float(scores.loss_sum)}

    def _adapter(self, job: Job) -> Adapter:
        adapter = adapters.unflatten(load_file(job["adapter"]))
        if (found := adapters.digest(adapter)) != job["digest"]:
            raise DeviceError(f"{job['adapter']} has digest {found[:12]}, but {job['digest'][:12]} was announced")
        return adapter

    def _shard(self, path: str, device: int) -> Any:
        if path not in self.shards:
            self.shards[path] = load_file(path)
        return self.shards[path][str(device)]


def write(path: str, tensors: dict[str, np.ndarray]) -> None:
    """Write an answer so that whoever finds it finds all of it."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        save_file(tensors, temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise DeviceError(f"{path} cannot be written: {error}") from error


def answer(worker: Worker, job: Job) -> Job:
    """Carry out one job; what goes wrong is part of the answer."""
    handlers: dict[str, Callable[[Job], Job]] = {
        "prepare": worker.prepare,
        "open": worker.open,
        "train": worker.train,
        "evaluate": worker.evaluate,
    }
    try:
        return {"ok": handlers[job["op"]](job)}
    except FedquadError as error:
        return {"error": str(error), "kind": type(error).__name__}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}", "kind": ""}


def serve(channel: socket.socket) -> None:
    """Answer jobs until the other end is closed. The first line says which process this is."""
    jobs, answers = channel.makefile("r", encoding="utf-8"), channel.makefile("w", encoding="utf-8")
    worker = Worker()
    print(json.dumps({"pid": os.getpid()}), file=answers, flush=True)
    for line in jobs:
        print(json.dumps(answer(worker, json.loads(line))), file=answers, flush=True)


def main() -> None:
    """Fork a training process for each channel named on the command line, after the imports that all of them need.

    Importing torch and transformers takes 5 s of CPU; forked, they are paid once and share their memory. Nothing has run on
    torch's threads by then, which is what makes a fork safe.
    """
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    channels = [socket.socket(fileno=int(number)) for number in sys.argv[1:]]
    from fedquad.learn import evaluate, loop, model, tokens  # noqa: F401

    for channel in channels:
        if os.fork() == 0:
            for other in channels:
                if other is not channel:
                    other.close()
            serve(channel)
            os._exit(0)
    for channel in channels:
        channel.close()
    with suppress(ChildProcessError):
        while True:
            os.wait()


if __name__ == "__main__":
    main()
