"""What it takes to send a content and to have it, over each medium of an exchange, side by side.

    python -m benchmarks.exchange            # an adapter of 1.6 MB, over a folder, memory and an MLflow server on loopback
    python -m benchmarks.exchange --json

One row a medium and verb: medians of interleaved repetitions, each with a content of its own. `put again` finds the content there.
CPU is the client's, and beside it the server's (mean, from its processes' ticks): on a busy machine the wall says little.
"""

import hashlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.rows import arguments, record
from fedquad.exchange.exchange import Exchange, open_exchange

BYTES, REPETITIONS = 1_600_000, 30
VERBS = ("put", "put again", "get", "drop")


@contextmanager
def mlflow_server(folder: Path) -> Iterator[tuple[str, int]]:
    """An MLflow server that has artifacts alone; yields its URL and its process group."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [Path(sys.executable).with_name("mlflow"), "server", "--artifacts-only", "--workers", "1"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--artifacts-destination", str(folder / "artifacts")]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen([*command, *options], cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        while not answers(port):
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.25)
        yield f"mlflow+http://127.0.0.1:{port}", server.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        server.wait(timeout=60)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
            return True
    except OSError:
        return False


def cpu_seconds(group: int) -> float:
    """CPU of a process group's living processes, in the clock's ticks of 10 ms."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12]) if int(fields[2]) == group else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(places: dict[str, Exchange], server: int) -> list[dict[str, Any]]:
    """Each medium in turn, so that what else the machine does falls on all of them."""
    taken: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for _ in range(REPETITIONS):
        content = os.urandom(BYTES)
        digest = hashlib.sha256(content).hexdigest()
        for name, exchange in places.items():
            put, get = partial(exchange.put, content), partial(exchange.get, digest, BYTES)
            for verb, do in zip(VERBS, (put, put, get, partial(exchange.drop, [digest]))):
                before = cpu_seconds(server), time.process_time(), time.perf_counter()
                do()
                wall, client = time.perf_counter() - before[2], time.process_time() - before[1]
                taken.setdefault((name, verb), []).append((wall, client, cpu_seconds(server) - before[0]))
    return [row(name, verb, times) for (name, verb), times in taken.items()]


def row(medium: str, verb: str, times: list[tuple[float, float, float]]) -> dict[str, Any]:
    walls, clients, servers = zip(*times)
    return {
        "medium": medium,
        "verb": verb,
        "bytes": BYTES,
        "repetitions": len(times),
        "median_ms": round(1e3 * statistics.median(walls), 2),
        "client_cpu_ms": round(1e3 * statistics.median(clients), 2),
        "load": round(os.getloadavg()[0], 1),
        "server_cpu_ms": round(1e3 * statistics.mean(servers), 1) if medium == "mlflow" else "",
    }


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    with tempfile.TemporaryDirectory() as folder, mlflow_server(Path(folder)) as (url, server):
        places = {"folder": f"{folder}/exchange", "memory": "memory://exchange", "mlflow": url}
        rows = measure({name: open_exchange(place, scope="benchmark") for name, place in places.items()}, server)
    record("exchange", rows, as_json=as_json)


if __name__ == "__main__":
    main()
