"""Processes for flow runs, forked from one that has Prefect imported; no server here, so that a run ends by itself with a failure."""

import asyncio
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from flows.forks import LOST, Forks, Run
from flows.server import free_port

ID = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "FEDQUAD_"))}
    return {**clean, "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api", "PREFECT_HOME": str(tmp_path)}


async def ended(run: Run) -> int:
    await asyncio.wait_for(run.wait(), 60)
    assert run.returncode is not None
    return run.returncode


def test_runs_of_one_import_end_by_themselves_by_a_signal_and_with_it(environment: dict[str, str]) -> None:
    async def story() -> None:
        forks = Forks(environment)
        await forks.start()
        began = time.monotonic()
        first = await forks.run({"PREFECT__FLOW_RUN_ID": ID})
        imported = time.monotonic() - began
        assert os.getpgid(first.pid) == first.pid, "a run is a group of its own, so that a cancellation ends all of it"
        began = time.monotonic()
        second = await forks.run({"PREFECT__FLOW_RUN_ID": ID})
        assert time.monotonic() - began < imported / 4, "nothing is imported again"
        os.killpg(second.pid, signal.SIGKILL)
        assert await ended(second) == -signal.SIGKILL
        assert psutil.pid_exists(first.pid)
        assert await ended(first) == 1, "no server answers it"

        assert forks._process is not None
        forks._process.kill()
        third = await forks.run({"PREFECT__FLOW_RUN_ID": ID})
        run = psutil.Process(third.pid)
        for waiting in psutil.Process(forks._process.pid).children():
            waiting.kill()
        assert await ended(third) == LOST, "whoever waited for it is gone"
        psutil.wait_procs([run], timeout=20)
        assert not run.is_running(), "so it is ended"
        await forks.close()

    asyncio.run(story())


def test_a_run_that_cannot_be_forked_is_said_so(environment: dict[str, str]) -> None:
    async def story() -> None:
        forks = Forks({**environment, "PYTHONPATH": "", "PYTHONSAFEPATH": "1", "PREFECT_API_REQUEST_TIMEOUT": "soon"})
        with pytest.raises(RuntimeError, match="no process can be forked"):
            await asyncio.wait_for(forks.run({"PREFECT__FLOW_RUN_ID": ID}), 60)
        await forks.close()

    asyncio.run(story())
