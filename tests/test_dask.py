"""The parts of a cluster's engine, one by one, without a cluster: what travels, what is repeated, what is said when it is not there."""

import asyncio
import json
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import distributed
import pytest
from handmade import home_is

from fedquad.errors import DeviceError, ExchangeError, FedquadError, ServiceError, SpecError
from fedquad.exchange.exchange import open_exchange
from fedquad.learn.jobs import Open, Train, to_json
from fedquad.learn.pool import Pool, WorkerDied
from fedquad.spec import CampaignSpec, FleetSpec, ModelSpec, TrainingSpec
from fedquad.store.campaign import campaign
from fedquad.types import Assignment
from tasks import cluster, cluster_worker, scheduler
from tasks.cluster import Cluster, exchange_of
from tasks.contents import Contents
from tasks.engine import engine_of
from tasks.job_files import READ, WRITTEN, paths, renamed
from tasks.scheduler import Asked, Scheduler

ONE = {"op": "train", "adapter": "/a", "shards": "/s", "out": "/o", "digest": "77ab", "key": [0, 1]}
MANY = {"op": "cohort", "members": [ONE, {**ONE, "adapter": "/b", "out": "/p"}]}


def dask(**fleet: Any) -> CampaignSpec:
    return CampaignSpec(fleet=FleetSpec(engine="dask", **fleet))


# What travels


def test_only_the_files_of_a_job_are_renamed_however_deep_it_names_them() -> None:
    assert paths(MANY, READ) == {"/a", "/b", "/s"}
    assert paths(MANY, WRITTEN) == {"/o", "/p"}
    there = renamed(MANY, READ, {path: path.upper() for path in ("/a", "/b", "/s")})
    assert there["members"][1] == {**MANY["members"][1], "adapter": "/B", "shards": "/S"}  # type: ignore[index]
    opening = to_json(
        Open(model=ModelSpec(), labels=3, greatest_rank=8, splits={"test": "/t"}, threads=1, objective="classification")
    )
    train = Train(
        assignment=Assignment(device=0, present=(0,), trained=(0,), ranks=(8,), steps=1, learning_rate=1.0),
        training=TrainingSpec(),
        adapter="/a",
        digest="77ab",
        shards="/s",
        key=(0,),
        round=1,
        out="/o",
    )
    assert (paths(to_json(train), READ), paths(to_json(train), WRITTEN)) == ({"/a", "/s"}, {"/o"})
    assert renamed(opening, READ, {"/t": "9f"}) == {
        **opening,
        "splits": {"test": "9f"},
        "model": {**opening["model"], "targets": []},
    }


def test_a_content_is_put_once_and_an_adapter_goes_with_the_last_job_that_needs_it(tmp_path: Path) -> None:
    for name in ("sent", "shards"):
        (tmp_path / name).write_bytes(name.encode())
    exchange = open_exchange(str(tmp_path / "x"), scope="d-1")
    job = {"adapter": str(tmp_path / "sent"), "shards": str(tmp_path / "shards")}
    written: list[str] = []

    class Counting:
        def put(self, content: bytes) -> str:
            written.append(content.decode())
            return exchange.put(content)

        drop = exchange.drop

    async def two_at_once() -> int:
        contents = Contents(Counting())  # type: ignore[arg-type]
        async with contents.lent(job):
            async with contents.lent(job) as sent:
                assert contents.size(sent) == 4
            assert exchange.get(sent["adapter"], 10) == b"sent"
        with pytest.raises(ExchangeError, match="never put there, or removed"):
            exchange.get(sent["adapter"], 10)
        async with contents.lent(job):
            return len(exchange.get(sent["shards"], 10))

    assert asyncio.run(two_at_once()) == 6
    assert written == ["sent", "shards", "sent"]


def test_a_cluster_is_sent_a_reference_and_a_text() -> None:
    assert pickle.loads(pickle.dumps(cluster_worker.run)) is cluster_worker.run
    assert len(pickle.dumps(cluster_worker.run)) < 60


@pytest.mark.parametrize(
    "text", ["no JSON", "[]", '"ok"', '{"ok": 3}', '{"out": {}}', '{"error": "x"}', None, b"\x80", "[" * 10**5]
)
def test_what_is_no_answer_is_refused_in_a_line(text: Any) -> None:
    with pytest.raises(DeviceError, match="another version"):
        cluster._read(text)


# What a worker does


def site(folder: Path, monkeypatch: pytest.MonkeyPatch) -> cluster_worker.Site:
    """A worker whose model has weights ab12 and that leaves three bytes."""

    def answer(worker: Any, line: str) -> dict[str, Any]:
        job = json.loads(line)
        if job["op"] == "open":
            return {"ok": {"layout": {"digest": "ab12"}}}
        Path(job["out"]).write_bytes(Path(job["adapter"]).read_bytes()[:3])
        return {"ok": {"device": 7}}

    monkeypatch.setattr(cluster_worker, "answer", answer)
    return cluster_worker.Site(folder / "worker")


def test_a_worker_opens_once_leaves_its_delta_by_digest_and_keeps_so_many_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_worker, "MOST_KEPT_BYTES", 10)
    exchange = open_exchange(str(tmp_path / "x"), scope="d-1")
    worker, told = site(tmp_path, monkeypatch), list[dict[str, Any]]()
    opening = exchange.put(json.dumps({"op": "open", "threads": 1}).encode())
    asked = {"exchange": str(tmp_path / "x"), "scope": "d-1", "opening": opening, "backbone": "ab12"}
    for number in range(4):
        job = {"op": "train", "adapter": exchange.put(b"%7d" % number), "out": "0"}
        said = worker.do({**asked, "out": f"d-1-{number}", "job": job}, told.append)
        assert said["ok"] == {"device": 7}
        assert open_exchange(str(tmp_path / "x"), scope=f"d-1-{number}").get(said["out"]["0"], 3) == b"   "
    assert [facts["event"] for facts in told].count("opened") == 1
    assert len(list((tmp_path / "worker").iterdir())) == 1
    other = worker.do({**asked, "backbone": "cd34", "out": "", "job": job}, told.append)
    assert (other["kind"], "have the same files" in other["error"]) == ("DeviceError", True)


def test_a_workers_machine_needs_neither_prefect_nor_mlflow() -> None:
    program = "import tasks.cluster_worker, sys; print({'prefect', 'mlflow', 'pydantic', 'typer', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_worker_that_cannot_reach_the_exchange_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {
        "exchange": str(tmp_path / "elsewhere"),
        "scope": "d-1",
        "opening": "a" * 64,
        "backbone": "",
        "job": {},
        "out": "",
    }
    said = site(tmp_path, monkeypatch).do(asked, lambda facts: None)
    assert said["kind"] == "ExchangeError"
    assert "never put there" in said["error"]


# What is repeated


class Future:
    """A job of a cluster that does what it is told."""

    status = "error"

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    def __await__(self) -> Any:
        return self._await().__await__()

    async def _await(self) -> Any:
        if self.outcome is None:
            await asyncio.sleep(60)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def release(self) -> None:
        pass


class Client:
    """A cluster that tells of `begun` beginnings of each job, and then answers as listed."""

    def __init__(self, *outcomes: Any, begun: int = 1) -> None:
        self.outcomes = list(outcomes)
        self.begun = begun
        self.heard: Any = None

    def submit(self, function: Any, text: str, **more: Any) -> Future:
        for number in range(self.begun):
            told = {"key": more["key"], "event": "started", "worker": f"tcp://w{number}:1"}
            asyncio.get_running_loop().call_later(0.01 * number, self.heard, (0.0, told))
        return Future(self.outcomes.pop(0))


def ask(client: Client, deadline_seconds: float | None = None) -> Any:
    async def asking() -> Any:
        one = Scheduler("tcp://s:1", "d-1", lambda facts: None)
        one.client, client.heard = client, one._heard  # type: ignore[assignment]
        return await one.ask({"job": {}}, deadline_seconds)

    return asyncio.run(asking())


def killed(allowed: int) -> distributed.KilledWorker:
    class Worker:
        address = "tcp://w:1"

    return distributed.KilledWorker("key", Worker(), allowed)  # type: ignore[arg-type]


def test_a_job_is_begun_twice_at_most_whatever_the_cluster_allows() -> None:
    assert ask(Client("answer")) == "answer"
    assert ask(Client("answer", begun=2)) == "answer"
    with pytest.raises(WorkerDied, match="its worker died"):
        ask(Client(None, begun=3))
    assert ask(Client(killed(0), "answer")) == "answer"
    for deaths in ((killed(0), killed(0)), (killed(1),), (killed(3),)):
        with pytest.raises(WorkerDied, match="tcp://w:1 died"):
            ask(Client(*deaths, begun=0))


def test_a_deadline_counts_from_when_a_worker_begins() -> None:
    assert ask(Client(None, "answer"), 0.05) == "answer"
    with pytest.raises(WorkerDied, match=r"deadline of 0\.05 s"):
        ask(Client(None, None), 0.05)

    async def never_begun() -> bool:
        one = Asked(0.01)
        await asyncio.sleep(0.05)
        return one.lost.done()

    assert not asyncio.run(never_begun())


def test_a_worker_without_fedquad_is_told_apart_from_a_scheduler_that_is_gone() -> None:
    with pytest.raises(DeviceError, match=r"fedquad\[learn,dask\]"):
        ask(Client(ModuleNotFoundError("No module named 'tasks'")))
    gone = Future(distributed.CancelledError("lost"))
    gone.status = "cancelled"
    client = Client()
    client.submit = lambda *given, **more: gone  # type: ignore[method-assign,assignment]
    with pytest.raises(ServiceError, match="is gone"):
        ask(client)


# What is said


def started(address: str) -> None:
    async def starting() -> None:
        engine = Cluster(address, "memory://x", "d-1", 0.1)
        try:
            await engine.start()
        finally:
            await engine.close()

    asyncio.run(starting())


def test_a_scheduler_that_does_not_answer_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(scheduler, "CLOSE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        closed.close()
        for address in (nobody, f"tcp://127.0.0.1:{silent.getsockname()[1]}", "smoke://signals:1"):
            with pytest.raises(ServiceError, match=r"`dask scheduler` starts one, and fleet\.engine_address") as found:
                started(address)
            assert address in str(found.value)
            assert "\n" not in str(found.value)


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DeviceError, match=r"pip install 'fedquad\[dask\]'"):
        started("tcp://127.0.0.1:1")


def test_the_spec_or_the_environment_says_where_the_cluster_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home_is(tmp_path, monkeypatch)
    monkeypatch.delenv("FEDQUAD_ENGINE_ADDRESS", raising=False)
    folder = campaign("mine")
    assert isinstance(engine_of(CampaignSpec(), folder), Pool)
    with pytest.raises(SpecError, match="FEDQUAD_ENGINE_ADDRESS"):
        engine_of(dask(), folder)
    monkeypatch.setenv("FEDQUAD_ENGINE_ADDRESS", "tcp://there:1")
    found = [engine_of(dask(**where), folder) for where in ({}, {"engine_address": "tcp://other:1"})]
    assert [one.scheduler.address for one in found if isinstance(one, Cluster)] == ["tcp://there:1", "tcp://other:1"]


def test_a_campaign_has_a_scope_of_its_own_in_a_place_that_both_sides_name_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home_is(tmp_path / "runs", monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert exchange_of(dask(), campaign("a"))[0] == str(tmp_path / "runs" / "cache" / "exchange")
    assert exchange_of(dask(exchange="shared"), campaign("a"))[0] == str(tmp_path / "shared")
    assert exchange_of(dask(exchange="s3://b/x"), campaign("a"))[0] == "s3://b/x"
    assert exchange_of(dask(), campaign("a"))[1] != exchange_of(dask(), campaign("b"))[1]
    with pytest.raises(FedquadError, match="password"):
        exchange_of(dask(exchange="sftp://me:secret@host/x"), campaign("a"))
