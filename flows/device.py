"""What runs on a device of a work pool: one job, in a process of its own that the worker starts.

The job is the same JSON that the simulated fleet's processes get; its answer is a file beside the delta's.
"""

import time
from pathlib import Path
from typing import Any

from prefect import flow

from fedquad.learn.jobs import Open, Train, expect
from fedquad.learn.worker import Worker
from fedquad.store import files
from flows import admission


@flow(name="device", flow_run_name="round {job[round]} - device {job[assignment][device]}", persist_result=False)
async def device(opening: dict[str, Any], job: dict[str, Any]) -> None:
    """Load the model, carry out one assignment, write the answer.

    Args:
        opening: How to load the model and the data.
        job: The assignment, and the files it starts from and ends in.
    """
    train, worker = expect(Train, job), Worker()
    admission.check_out(train.out)
    worker.open(expect(Open, opening))
    began = time.monotonic()
    answer = worker.train(train)
    answer["report"]["seconds"] = time.monotonic() - began
    files.write_json(Path(train.out).with_suffix(".answer.json"), answer)
