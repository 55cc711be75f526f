"""A job is the same record on both ends of the wire, or is refused; and the server pays no torch to write one."""

import json
import subprocess
import sys
from typing import Any

import pytest
from fleet_of_three import assignment

from fedquad.errors import DeviceError
from fedquad.learn import jobs, worker
from fedquad.spec import DataSpec, ModelSpec, TrainingSpec
from fedquad.types import Local

SPLITS = {"train": "/tokens/a.safetensors", "test": "/tokens/b.safetensors"}
JOBS: list[jobs.Job] = [
    jobs.Prepare(
        data=DataSpec(partition="column", column="user"),
        model=ModelSpec(),
        seed=3,
        cache="/cache",
        folders=("/data/devices/jetson-tx2/a", ""),
        labels=("no", "yes"),
    ),
    jobs.Open(
        model=ModelSpec(targets=("query",)),
        labels=3,
        greatest_rank=16,
        splits=SPLITS,
        threads=1,
        objective="classification",
    ),
    jobs.Train(
        assignment=assignment(3, (1,), quantized=(1,), least_ranks=(1, 1), local=Local(tail_penalty=0.1)),
        training=TrainingSpec(steps=2),
        adapter="/spool/sent.safetensors",
        digest="1f3a",
        shards="/shards/a.safetensors",
        key=(0, 1, 2, 3),
        round=2,
        out="/spool/device-0003.safetensors",
    ),
    jobs.Evaluate(
        adapter="/spool/sent.safetensors",
        digest="1f3a",
        split="test",
        start=0,
        stop=64,
        batch=16,
        prefix=8,
        prefix_bytes=99,
    ),
    jobs.Join(
        model=ModelSpec(),
        data=DataSpec(partition="local", text_columns=("text",), label_column="stars"),
        objective="classification",
        labels=("1", "2"),
        greatest_rank=8,
        training=TrainingSpec(),
        backbone="2b3c",
    ),
]
JOBS.append(jobs.Drift(former="f", former_digest="1", adapter="a", digest="2", split="validation", rows=8, layers=3))
JOBS.append(jobs.Cohort(members=(JOBS[2], JOBS[2])))  # type: ignore[arg-type]


def wired(job: jobs.Job) -> Any:
    return json.loads(json.dumps(jobs.to_json(job), allow_nan=False))


@pytest.mark.parametrize("job", JOBS, ids=lambda job: type(job).__name__)
def test_a_job_survives_the_wire(job: jobs.Job) -> None:
    assert jobs.from_json(wired(job)) == job
    assert jobs.expect(type(job), wired(job)) == job  # type: ignore[type-var]


def test_every_kind_of_job_is_tried_here() -> None:
    assert {wired(job)["op"] for job in JOBS} == set(jobs.OPS)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: type(job).__name__)
def test_each_missing_key_and_an_unknown_one_are_refused(job: jobs.Job) -> None:
    whole = wired(job)
    for key in whole.keys() - {"op"}:
        with pytest.raises(DeviceError, match=rf"job '{whole['op']}' cannot be read: .*'{key}'.*another version"):
            jobs.from_json({k: v for k, v in whole.items() if k != key})
    with pytest.raises(DeviceError, match="no field 'colour'"):
        jobs.from_json({**whole, "colour": 1})


@pytest.mark.parametrize("document", [{}, {"op": None}, {"op": "shell"}, {"op": ["train"]}])
def test_a_job_of_no_known_kind_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(DeviceError, match="there are: prepare, open, train, evaluate"):
        jobs.from_json(document)


def test_a_device_takes_no_other_job_than_it_is_there_for() -> None:
    with pytest.raises(DeviceError, match="'prepare' came where only 'train' is done"):
        jobs.expect(jobs.Train, wired(JOBS[0]))


def test_what_cannot_be_done_is_an_answer() -> None:
    new = worker.Worker()
    assert worker.answer(new, "{")["error"].startswith("JSONDecodeError")
    assert "no field 'colour'" in worker.answer(new, json.dumps({**wired(JOBS[3]), "colour": 1}))["error"]
    for job in (*JOBS[2:4], *JOBS[5:]):
        found = worker.answer(new, json.dumps(wired(job)))
        assert found["kind"] == "DeviceError"
        assert "a job 'open' comes before" in found["error"]
    assert "through its resident trainer" in worker.answer(new, json.dumps(wired(JOBS[4])))["error"]


def test_jobs_and_the_pool_import_nothing_heavy() -> None:
    program = "import fedquad.learn.pool, fedquad.learn.jobs, sys; print({'torch', 'transformers'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"
