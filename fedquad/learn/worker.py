"""A training process: reads one JSON job a line, answers one JSON line each, keeps its model loaded in between.

What it can be asked is in jobs.py. The simulated fleet runs a pool of these; a device on a work pool runs one job in one.
A job that fails answers with `error`.
"""

import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from fedquad import garbage, wire
from fedquad.errors import DeviceError, FedquadError
from fedquad.learn import jobs, local, tokens
from fedquad.learn.jobs import Cohort, Drift, Evaluate, Job, Join, Open, Prepare, Train
from fedquad.rounds import adapters
from fedquad.spec import TrainingSpec
from fedquad.types import Adapter, Ints, Update

if TYPE_CHECKING:
    from fedquad.learn.model import Trainee
    from fedquad.learn.prefix import Prefixes  # torch comes with the first job that needs it

Answer = dict[str, Any]


class Worker:
    """What stays in memory between jobs: one model, its data splits, the shards of each seed; prefixes, or these in a folder."""

    def __init__(self, prefix_folder: Path | None = None) -> None:
        self.prefix_folder = prefix_folder
        self.trainee: Trainee | None = None
        self.splits: dict[str, tokens.Encoded] = {}
        self.shards: dict[str, dict[str, Ints]] = {}
        self.prefixes: Prefixes | None = None
        self.scored: Prefixes | None = None

    def do(self, job: Job) -> Answer:
        """Carry out a job of any kind."""
        match job:
            case Prepare():
                return self.prepare(job)
            case Open():
                return self.open(job)
            case Train():
                return self.train(job)
            case Cohort():
                return self.cohort(job)
            case Evaluate():
                return self.evaluate(job)
            case Drift():
                return self.drift(job)
            case Join():
                raise DeviceError("a device joins a campaign through its resident trainer (fedquad/onboard/trainer.py)")

    def prepare(self, job: Prepare) -> Answer:
        cache = Path(job.cache)
        if job.data.partition == "local":
            return local.prepare(job.data, job.model, job.seed, cache, job.folders, job.labels)
        return tokens.prepare(job.data, job.model, job.seed, cache)

    def open(self, job: Open) -> Answer:
        import torch

        from fedquad.learn import half, model

        torch.set_num_threads(job.threads)
        self.trainee = model.load(job.model, job.labels, job.greatest_rank, job.objective)
        self.splits = {name: tokens.read(Path(path)) for name, path in job.splits.items()}
        layout, device = self.trainee.layout, self.trainee.device.type
        pays = device == "cpu" and job.model.precision == "fp32" and half.bf16_pays(layout.shape.hidden)
        return {"layout": asdict(layout), "device": device, "bf16_pays": pays}

    def train(self, job: Train, beat: Callable[[int], None] = lambda step: None) -> Answer:
        """Carry out an assignment, leave its delta in `out`; `beat` is told of every step."""
        from fedquad.learn import loop

        self.prefixes = self.prefixes or self._prefixes(job.training)
        update = loop.train(
            self.loaded(),
            job.assignment,
            _adapter(job),
            self._data(job),
            training=job.training,
            key=job.key,
            round=job.round,
            based_on=job.digest,
            prefixes=self.prefixes,
            beat=beat,
        )
        return _answered(update, job.out)

    def cohort(self, job: Cohort) -> Answer:
        """Carry out assignments that are alike in one stack, and leave each delta where its member says."""
        from fedquad.learn import cohort

        trainee = self.loaded()
        sent: dict[str, Adapter] = {}  # most were sent the same
        for member in job.members:
            if member.adapter not in sent:
                sent[member.adapter] = _adapter(member)
        orders = [
            cohort.Order(
                assignment=member.assignment,
                adapter=sent[member.adapter],
                data=self._data(member),
                key=member.key,
                round=member.round,
                based_on=member.digest,
            )
            for member in job.members
        ]
        updates = cohort.train_together(trainee, orders, job.members[0].training)
        return {"answers": [_answered(update, member.out) for update, member in zip(updates, job.members)]}

    def evaluate(self, job: Evaluate) -> Answer:
        from fedquad.learn import evaluate
        from fedquad.learn.prefix import Prefixes

        if self.scored is None and job.prefix:
            self.scored = Prefixes(job.prefix_bytes, is_coded=False)  # scores are those of the model as it is
        counts = evaluate.evaluate(
            self.loaded(),
            _adapter(job),
            self.splits[job.split],
            job.start,
            job.stop,
            job.batch,
            prefix=job.prefix,
            prefixes=self.scored,
        )
        return counts.to_json()

    def drift(self, job: Drift) -> Answer:
        from fedquad.learn.drift import drift

        trainee, split = self.loaded(), self.splits[job.split]
        former, adapter = _read(job.former, job.former_digest), _read(job.adapter, job.digest)
        probe = split.rows(np.arange(min(job.rows, len(split))))
        return {"drift": drift(trainee, former, adapter, probe, job.layers)}

    def loaded(self) -> "Trainee":
        """The model of the last `open`."""
        if self.trainee is None:
            raise DeviceError("no model is loaded here; a job 'open' comes before any other")
        return self.trainee

    def _prefixes(self, training: TrainingSpec) -> "Prefixes":
        from fedquad.learn.prefix import Prefixes
        from fedquad.learn.prefix_files import PrefixFiles

        if self.prefix_folder and training.prefix != "none" and training.prefix_on_disk:
            return PrefixFiles(self.prefix_folder, training.prefix_bytes)
        return Prefixes(training.prefix_bytes)

    def _data(self, job: Train) -> tokens.Encoded:
        return self.splits["train"].rows(self._shard(job.shards, job.assignment.device))

    def _shard(self, path: str, device: int) -> Ints:
        if path not in self.shards:
            self.shards[path] = load_file(path)
        return self.shards[path][str(device)]


def _answered(update: Update, out: str) -> Answer:
    """Leave the update's delta in a file; the rest is the answer."""
    document, tensors = wire.answer(update)
    write(out, tensors)
    return document


def _adapter(job: Train | Evaluate) -> Adapter:
    return _read(job.adapter, job.digest)


def _read(path: str, digest: str) -> Adapter:
    adapter = adapters.unflatten(load_file(path))
    if (found := adapters.digest(adapter)) != digest:
        raise DeviceError(f"{path} has digest {found[:12]}, but {digest[:12]} was announced")
    return adapter


def write(path: str, tensors: dict[str, np.ndarray]) -> None:
    """Write an answer so that whoever finds it finds all of it."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # of a killed process, or a link laid for us
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), "wb") as file:
            file.write(save(tensors))
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise DeviceError(f"{path} cannot be written: {error}") from error


def answer(worker: Worker, line: str) -> Answer:
    """Carry out one job; what goes wrong is part of the answer."""
    try:
        return {"ok": worker.do(jobs.from_json(json.loads(line)))}
    except FedquadError as error:
        return {"error": str(error), "kind": type(error).__name__}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}", "kind": ""}


def serve(channel: socket.socket, prefix_folder: Path | None) -> None:
    """Answer jobs until the other end is closed. The first line says which process this is."""
    lines, answers = channel.makefile("r", encoding="utf-8"), channel.makefile("w", encoding="utf-8")
    worker = Worker(prefix_folder)
    print(json.dumps({"pid": os.getpid()}), file=answers, flush=True)
    for line in lines:
        print(json.dumps(answer(worker, line)), file=answers, flush=True)


def main() -> None:
    """Fork a training process for each channel named on the command line, after a folder for prefixes, once what all need is imported.

    Importing torch and transformers takes 5 s of CPU; forked, they are paid once and share their memory. Nothing has run on
    torch's threads by then, which is what makes a fork safe.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})  # who started us may have blocked them
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    prefix_folder = Path(sys.argv[1]) if sys.argv[1] else None
    channels = [socket.socket(fileno=int(number)) for number in sys.argv[2:]]
    with garbage.seldom_sought():
        from fedquad.learn import evaluate, loop, model  # noqa: F401

    for channel in channels:
        if os.fork() == 0:
            for other in channels:
                if other is not channel:
                    other.close()
            serve(channel, prefix_folder)
            os._exit(0)
    for channel in channels:
        channel.close()
    threading.Thread(target=_end_with_the_coordinator, daemon=True).start()
    with suppress(ChildProcessError):
        while True:
            os.wait()


def _end_with_the_coordinator() -> None:
    """Wait for the end of stdin, whose other end the coordinator holds; then end the group, at work or stopped."""
    os.read(0, 1)  # sys.stdin's buffer could not be closed at exit while a thread waits in it
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
