"""What a job costs on a Dask cluster beside one in a process of this machine: the way there and back, not the work.

    python -m benchmarks.cluster          # a scheduler and one worker on loopback, contents through a folder
    python -m benchmarks.cluster --json

One row a job and engine: medians of interleaved repetitions. The jobs are as small as there are: one row scored, one step of one
example trained, each with an adapter of its own file, which therefore is put and fetched once a job.
"""

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from benchmarks.rows import arguments, record
from fedquad import wire
from fedquad.learn.jobs import Evaluate, Job, Open, Prepare, Train
from fedquad.learn.pool import Pool
from fedquad.rounds import adapters
from fedquad.spec import DataSpec, ModelSpec, TrainingSpec
from fedquad.types import Assignment, ModelLayout
from tasks.cluster import Cluster
from tasks.engine import Engine

REPETITIONS = 30


@contextmanager
def a_cluster(folder: Path) -> Iterator[str]:
    """A scheduler and one worker; yields the scheduler's address."""
    told, here = folder / "scheduler.json", ("--host", "127.0.0.1", "--no-dashboard")
    started = [dask(folder, "scheduler", "--port", "0", "--scheduler-file", str(told), *here)]
    try:
        while not told.exists() or not told.read_text().rstrip().endswith("}"):
            time.sleep(0.05)
        address = str(json.loads(told.read_text())["address"])
        started.append(dask(folder, "worker", address, "--nthreads", "1", "--memory-limit", "0", *here))
        yield address
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def dask(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    with open(folder / f"{arguments[0]}.log", "wb") as log:
        command = [sys.executable, "-m", "dask", *arguments]
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def jobs(folder: Path, layout: ModelLayout, number: int) -> dict[str, Job]:
    """The two jobs, with an adapter that no job had before."""
    adapter = adapters.initial(layout, 8, number)
    path, digest, layers = folder / f"sent-{number}.safetensors", adapters.digest(adapter), layout.shape.layers
    save_file(adapters.flatten(adapter), path)
    everything = tuple(range(layers))
    assignment = Assignment(
        device=0, present=everything, trained=everything[-1:], ranks=(8,) * layers, steps=1, learning_rate=1e-3
    )
    train = Train(
        assignment=assignment,
        training=TrainingSpec(batch=1),
        adapter=str(path),
        digest=digest,
        shards=str(folder / "shards.safetensors"),
        key=(0, 0, 1, 0),
        round=1,
        out=str(folder / f"out-{number}.safetensors"),
    )
    return {
        "score one row": Evaluate(adapter=str(path), digest=digest, split="test", start=0, stop=1, batch=1),
        "train one step": train,
    }


async def measured(folder: Path, address: str) -> list[dict[str, Any]]:
    engines: dict[str, Engine] = {"local": Pool(1, 1), "dask": Cluster(address, str(folder / "x"), "d-benchmark", 60)}
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    save_file({"0": np.arange(4)}, folder / "shards.safetensors")
    try:
        for engine in engines.values():
            await engine.start()
        data, model = DataSpec(train=64, validation=16, test=16), ModelSpec()
        prepare = Prepare(data=data, model=model, seed=0, cache=str(folder), folders=(), labels=())
        splits = {name: split["path"] for name, split in (await engines["local"].do(prepare))["splits"].items()}
        opening = Open(model=model, labels=3, greatest_rank=8, splits=splits, threads=1, objective="classification")
        opened = [await engine.open(opening) for engine in engines.values()]
        layout = wire.from_json(ModelLayout, opened[0]["layout"])
        for number in range(REPETITIONS + 1):
            for what, job in jobs(folder, layout, number).items():
                for name, engine in engines.items():
                    began = time.perf_counter()
                    await engine.do(job)
                    seconds[what, name].append(time.perf_counter() - began)
    finally:
        for engine in engines.values():
            await engine.close()
    size = (folder / "sent-0.safetensors").stat().st_size
    return [
        {
            "job": what,
            "engine": name,
            "median_ms": round(1000 * statistics.median(found[1:]), 1),  # the first loads shards
            "least_ms": round(1000 * min(found[1:]), 1),
            "adapter_bytes": size,
            "repetitions": REPETITIONS,
        }
        for (what, name), found in seconds.items()
    ]


def main() -> None:
    given = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder, a_cluster(Path(folder)) as address:
        record("cluster", asyncio.run(measured(Path(folder), address)), as_json=given.json)


if __name__ == "__main__":
    main()
