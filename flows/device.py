"""What runs on a device of a work pool: thin, without torch. It fetches what it is told of by digest, hands the job to the resident
trainer, passes progress on, and lays the answer down where the server finds it by digest.

Parameters hold digests and numbers only; where the contents lie and where the trainer listens is the device's own affair.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from fedquad.errors import FedquadError
from fedquad.exchange.exchange import Exchange
from fedquad.exchange.patience import patiently
from fedquad.onboard.channel import ask
from fedquad.onboard.folder import DeviceFolder, own_folder
from fedquad.store import files
from tasks.exchange_url import opened

EXCHANGE = "FEDQUAD_EXCHANGE"  # set by `fedquad device serve`
MOST_ADAPTER_BYTES = 2**31
MOST_OPENING_BYTES = 2**20
LEAST_MEASURED_BYTES = 10_000  # of a transfer that tells a bandwidth
Content = TypeVar("Content")
KEPT = {"opening": 8, "adapter": 1}  # how many of a kind stay in the inbox


@flow(name="device", persist_result=False)  # whoever makes a run names it: naming it here is a request more
async def device(
    name: str,
    scope: str,
    opening: str,
    seconds: float,
    round: int = 0,
    key: list[int] | None = None,
    assignment: dict[str, Any] | None = None,
    adapter: str = "",
    adapter_digest: str = "",
) -> State[Any]:
    """Carry out one assignment on this device's own data; without one, score the adapter by what it holds back of them; without
    an adapter too, load what the campaign needs.

    Args:
        name: What the run is called.
        scope: The campaign, as the exchange knows it.
        opening: Digest of what a device loads to take part.
        seconds: What the job may take from now on.
        round: The round it belongs to.
        key: The key of its randomness.
        assignment: What to train, in numbers.
        adapter: Digest of the file it starts from, or that is scored.
        adapter_digest: Digest of the tensors in that file.
    """
    folder, until = own_folder(), time.monotonic() + seconds
    try:
        exchange = opened(os.environ[EXCHANGE], scope)
        await fetch(exchange, folder, "opening", opening, MOST_OPENING_BYTES, until)
        request: dict[str, Any] = {"op": "join", "opening": opening, "seconds": seconds}
        if not adapter:
            facts = await ask(folder.socket, request)
            return Completed(message=f"joined: {facts['loads']} loads, backbone {facts['backbone'][:12]}")
        fetched = await fetch(exchange, folder, "adapter", adapter, MOST_ADAPTER_BYTES, until)
        request |= {"adapter": adapter, "adapter_digest": adapter_digest, "seconds": until - time.monotonic()}
        if assignment is None:
            counts = await ask(folder.socket, {**request, "op": "score"})
            document, _ = await transferred(partial(exchange.put, json.dumps(counts).encode()), until)
            return Completed(message=f"scored {document}")
        request |= {"op": "train", "assignment": assignment, "key": key, "round": round}
        told = Progress()
        answer = await ask(folder.socket, request, told)
        answer["report"]["seconds"] += fetched
        return Completed(message=await lay_down(exchange, folder, answer, told.first_step, until))
    except FedquadError as error:
        return Failed(message=str(error))


class Progress:
    """Steps as they are taken, in the run's log."""

    def __init__(self) -> None:
        self.first_step = 0.0

    def __call__(self, line: Mapping[str, Any]) -> None:
        self.first_step = self.first_step or time.time()
        get_run_logger().info("step %s of %s", line["step"], line["of"])


async def fetch(exchange: Exchange, folder: DeviceFolder, kind: str, digest: str, most: int, until: float) -> float:
    """Have a content in the inbox, each once; returns the seconds its transfer took."""
    path = folder.received(kind, digest)
    if path.is_file():
        return 0.0
    content, took = await transferred(partial(exchange.get, digest, most), until)
    measured(folder, "download_bandwidth", len(content), took)
    earlier = sorted(folder.inbox.glob(f"{kind}-*"), key=lambda one: one.stat().st_mtime, reverse=True)
    for old in earlier[KEPT[kind] - 1 :]:
        old.unlink(missing_ok=True)
    files.write_bytes(path, content)
    return took


async def lay_down(
    exchange: Exchange, folder: DeviceFolder, answer: dict[str, Any], first_step: float, until: float
) -> str:
    """Put delta and answer into the exchange; returns the run's message, which names both."""
    delta = ""
    if not answer["report"]["failure"]:
        content = files.read_bytes(folder.outbox / "delta.safetensors", MOST_ADAPTER_BYTES)
        delta, took = await transferred(partial(exchange.put, content), until)
        measured(folder, "upload_bandwidth", len(content), took)
        answer["report"]["seconds"] += took
    document, _ = await transferred(partial(exchange.put, json.dumps(answer).encode()), until)
    loads = folder.noted("trainer").get("loads", 0)
    return f"answer {document} delta {delta or 'none'} first step {first_step:.3f} loads {loads}"


async def transferred(transfer: Callable[[], Content], until: float) -> tuple[Content, float]:
    """What a transfer came to, and its seconds: those for which the exchange was away are none of them."""

    def timed() -> tuple[Content, float]:
        began = time.perf_counter()
        return transfer(), time.perf_counter() - began

    return await patiently(timed, until=until, tell=get_run_logger().warning)


def measured(folder: DeviceFolder, which: str, size: int, seconds: float) -> None:
    """Note what a transfer told of the network; a few bytes tell nothing."""
    if size >= LEAST_MEASURED_BYTES:
        folder.note("transfer", {**folder.noted("transfer"), which: size / max(seconds, 1e-6)})
