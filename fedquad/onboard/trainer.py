"""The resident trainer: model and data stay loaded, one job after the other comes over a socket that its owner alone may use.

    fedquad device trainer --name agx-07 --data PATH          by itself, in the board's container; `device serve` starts one too

Needs `.[learn]` alone: no Prefect, no network, no credentials. Whoever asks and hangs up ends the job at its next step. After every
job trainer.json says what is loaded and how fast it is.
"""

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fedquad import discover, wire
from fedquad.errors import DeviceError, FedquadError
from fedquad.learn import jobs
from fedquad.learn.jobs import Join, Open, Train
from fedquad.learn.source import embedded
from fedquad.learn.worker import Worker
from fedquad.objective import Counts
from fedquad.onboard import own_data
from fedquad.onboard.folder import DeviceFolder
from fedquad.rounds import adapters, counted
from fedquad.types import Assignment

OWN = "own"  # the shard that is everything the device has
TIMED_STEPS = 2
MOST_TIMINGS = 6
REQUEST_BYTES = 1 << 24
PROGRESS_SECONDS = 1.0


class HungUp(Exception):
    """Nobody waits for the job any more."""


class Trainer:
    """What stays between jobs, and the jobs."""

    def __init__(
        self, folder: DeviceFolder, data: str, model: str = "", label_column: str = "label", objective: str = ""
    ) -> None:
        from fedquad.learn.local import describe_local

        self.folder = folder
        self.data = own_data.folder_of(data, folder)
        self.model = model  # a folder on the board, in place of the campaign's name for it
        self.worker = Worker(folder.cache / "prefixes")
        objective = discover.objective(own_data.objective_of(data, objective)).name
        self.opened = ""
        self.examples = 0
        self.facts: dict[str, Any] = {
            "pid": os.getpid(), "opened": "", "backbone": "", "problem": "", "step_seconds": {}, "loads": 0,
            "held_bytes": 0, "jobs": 0, "objective": objective, **describe_local(self.data, (), label_column, objective),
        }  # fmt: skip
        self.note()

    def note(self, **facts: Any) -> None:
        self.facts.update(facts)
        self.folder.note("trainer", {**self.facts, "noted_at": time.time()})

    def do(self, request: Mapping[str, Any], beat: Callable[[int], None]) -> dict[str, Any]:
        """Carry out a request."""
        match request.get("op"):
            case "join":
                self.join(_text(request, "opening"), request)
                return dict(self.facts)
            case "train":
                return self.train(request, beat)
            case "score":
                return self.score(request, beat)
        raise DeviceError(
            f"a trainer is asked to join, to train or to score, not {request.get('op')!r}; the sender runs another version"
        )

    def join(self, digest: str, request: Mapping[str, Any]) -> None:
        """Load what a campaign needs, unless it is loaded; what stands in the way is told in every status until it is gone."""
        if digest == self.opened:
            return
        try:
            self._open(digest, jobs.expect(Join, _json(self.folder.received("opening", digest))))
        except FedquadError as error:
            self.note(opened=digest, problem=str(error))
            raise

    def _open(self, digest: str, job: Join) -> None:
        from fedquad.learn.local import SPLITS, read_local

        if job.objective != self.facts["objective"]:
            raise DeviceError(
                f"its labels were read for {self.facts['objective']}, but the campaign learns {job.objective}; start this device with "
                f"--objective {job.objective}"
            )
        if (
            not self.model
            and job.model.name not in embedded()
            and os.path.sep in job.model.name
            and job.model.name[0] in "./~"
        ):
            raise DeviceError(
                f"the campaign's model is {job.model.name!r}, a folder of its server's; start this device with --model FOLDER"
            )
        model = replace(job.model, name=self.model or job.model.name)
        self.opened = ""
        answer = self.worker.open(
            Open(
                model=model,
                labels=discover.objective(job.objective).outputs(job.labels),
                greatest_rank=job.greatest_rank,
                splits={},
                threads=job.training.threads,
                objective=job.objective,
            )
        )
        backbone, trainee = answer["layout"]["digest"], self.worker.loaded()
        self.note(
            backbone=backbone,
            loads=self.facts["loads"] + 1,
            held_bytes=sum(p.numel() * p.element_size() for p in trainee.model.parameters()),
        )
        if job.backbone and backbone != job.backbone:
            raise DeviceError(
                f"its backbone {model.name!r} has digest {backbone[:12]}, but the campaign trains on {job.backbone[:12]}"
            )
        self.worker.splits = {
            split: read_local(self.data, job.data, model, job.labels, self.folder.cache, split)
            for split in (SPLITS if job.data.evaluation == "devices" else SPLITS[:1])
        }
        self.examples = len(self.worker.splits["train"])
        self.note(opened=digest, problem="", step_seconds=self._timed(job) if self.examples else {})
        self.opened = digest

    def _timed(self, job: Join) -> dict[str, float]:
        """Seconds of a step at depth 1 and at full depth."""
        layers = self.worker.loaded().layout.shape.layers
        return {str(depth): self._step_seconds(job, depth) for depth in sorted({1, layers})}

    def _step_seconds(self, job: Join, depth: int) -> float:
        from fedquad.learn import loop

        trainee, rank = self.worker.loaded(), job.model.rank
        everything = tuple(range(trainee.layout.shape.layers))
        assignment = Assignment(
            device=0,
            present=everything,
            trained=everything[len(everything) - depth :],
            ranks=(rank,) * len(everything),
            steps=TIMED_STEPS + 1,
            learning_rate=1e-4,
        )
        start = adapters.cut(adapters.initial(trainee.layout, rank, 0), everything, assignment.ranks)
        began: list[float] = []
        update = loop.train(
            trainee, assignment, start, self.worker.splits["train"], training=job.training, key=(0, 0, 0, 0), round=0,
            based_on="", beat=lambda step: began.append(time.perf_counter()),
        )  # fmt: skip
        if update.report.failure:
            raise DeviceError(f"a step of depth {depth} was tried, and failed: {update.report.failure}")
        return (began[-1] - began[0]) / TIMED_STEPS

    def train(self, request: Mapping[str, Any], beat: Callable[[int], None]) -> dict[str, Any]:
        """Carry out an assignment on the device's own examples; the answer is `wire.answer`'s JSON."""
        self.join(_text(request, "opening"), request)
        join = jobs.expect(Join, _json(self.folder.received("opening", self.opened)))
        assignment = wire.from_json(Assignment, request["assignment"])
        self.worker.shards = {OWN: {str(assignment.device): np.arange(self.examples)}}
        job = Train(
            assignment=assignment,
            training=join.training,
            adapter=str(self.folder.received("adapter", _text(request, "adapter"))),
            digest=_text(request, "adapter_digest"),
            shards=OWN,
            key=tuple(int(part) for part in request["key"]),
            round=int(request["round"]),
            out=str(self.folder.outbox / "delta.safetensors"),
        )
        times: list[float] = []

        def step(number: int) -> None:
            times.append(time.perf_counter())
            beat(number)

        answer = self.worker.train(job, step)
        self._refresh(len(assignment.trained), times)
        self.note(jobs=self.facts["jobs"] + 1)
        return answer

    def score(self, request: Mapping[str, Any], beat: Callable[[int], None]) -> dict[str, Any]:
        """Count how an adapter does on what the device holds back of its examples; the answer is `counted.write`'s JSON."""
        self.join(_text(request, "opening"), request)
        adapter, digest = (
            str(self.folder.received("adapter", _text(request, "adapter"))),
            _text(request, "adapter_digest"),
        )
        found: dict[str, Counts] = {}
        for split in counted.SPLITS:
            if split not in self.worker.splits:
                raise DeviceError("it holds nothing back: the campaign's data.evaluation is not `devices`")
            for step, chunk in enumerate(jobs.evaluations(adapter, digest, split, 0, len(self.worker.splits[split]))):
                beat(step)
                counts = Counts.from_json(self.worker.evaluate(chunk))
                found[split] = found[split] + counts if split in found else counts
        return counted.write(found)

    def _refresh(self, depth: int, times: list[float]) -> None:
        """Every round tells anew what a step takes at the depth it was done with."""
        if depth and len(times) > 1:
            known = {key: value for key, value in self.facts["step_seconds"].items() if key != str(depth)}
            known[str(depth)] = (times[-1] - times[0]) / (len(times) - 1)
            self.facts["step_seconds"] = dict(list(known.items())[-MOST_TIMINGS:])


def _text(request: Mapping[str, Any], key: str) -> str:
    """A digest of the request: nothing that could lead out of a folder."""
    found = request.get(key)
    if not isinstance(found, str) or not found.isalnum():
        raise DeviceError(f"the job's {key} is {found!r}, not a digest; its sender runs another version")
    return found


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


class Conversation:
    """One connection: a request, progress, an answer."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.said_at = 0.0
        self.until = float("inf")
        self.steps = 0

    def read(self) -> dict[str, Any]:
        data = b""
        while not data.endswith(b"\n"):
            if not (piece := self.channel.recv(1 << 16)) or len(data) > REQUEST_BYTES:
                raise HungUp("before it had asked")
            data += piece
        request: dict[str, Any] = json.loads(data)
        self.until = time.monotonic() + float(request.get("seconds") or "inf")
        self.steps = int((request.get("assignment") or {}).get("steps", 0))
        return request

    def say(self, document: Mapping[str, Any]) -> None:
        try:
            self.channel.sendall(json.dumps(dict(document)).encode() + b"\n")
        except OSError as error:
            raise HungUp(str(error)) from None

    def beat(self, step: int) -> None:
        """Before every step: is anyone still waiting, and is there time?"""
        from fedquad.learn.work import Failed

        with suppress(BlockingIOError):
            if not self.channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                raise HungUp(f"before step {step}")
        if time.monotonic() > self.until:
            raise Failed(f"not done by its deadline: {step - 1} of {self.steps} steps")
        if time.monotonic() - self.said_at >= PROGRESS_SECONDS:
            self.said_at = time.monotonic()
            self.say({"step": step, "of": self.steps})


def serve(trainer: Trainer) -> None:
    """Answer one connection after the other, for ever."""
    path = trainer.folder.socket
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(16)
    while True:
        channel, _ = listener.accept()
        with channel:
            converse(trainer, Conversation(channel))


def converse(trainer: Trainer, with_whom: Conversation) -> None:
    """One job; what goes wrong with it is its answer, and whoever has hung up gets none."""
    from fedquad.learn.work import Failed

    answer: dict[str, Any]
    with suppress(HungUp):
        try:
            request = with_whom.read()
            answer = {"ok": trainer.do(request, with_whom.beat)}
        except FedquadError as error:
            answer = {"error": str(error)}
        except HungUp:
            raise
        except Failed as failed:
            answer = {"error": str(failed)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        with_whom.say(answer)


def end_with_the_parent() -> None:
    """End when stdin ends, whose other end whoever started us holds."""

    def wait() -> None:
        os.read(0, 1)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main(folder: Path, data: str, model: str, label_column: str, objective: str, *, is_child: bool = False) -> None:
    """Be the trainer of the device in this folder."""
    if is_child:
        end_with_the_parent()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    trainer = Trainer(DeviceFolder(folder), data, model, label_column, objective)
    from fedquad.learn import loop  # noqa: F401  torch is there before the first job

    serve(trainer)


if __name__ == "__main__":  # as `device serve` starts it: folder, data, model, label column, objective
    try:
        main(Path(sys.argv[1]), *sys.argv[2:], is_child=True)
    except FedquadError as error:
        sys.exit(f"fedquad: {error}")
