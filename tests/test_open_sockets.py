"""Prefect's limit on requests at a time, with a websocket open that nobody closes: as Prefect counts nobody else is answered."""

import asyncio
from typing import Any

import pytest
from prefect.server.api.server import RequestLimitMiddleware

from flows import open_sockets


async def app(scope: Any, receive: Any, send: Any) -> None:
    """A websocket stays, a request is answered."""
    if scope["type"] == "websocket":
        await asyncio.Event().wait()
    await send("answer")


async def answers(requests: int) -> int:
    """How many of so many requests are answered while a websocket is open, of one that may be in work at a time."""
    limited, answered = RequestLimitMiddleware(app, limit=1), list[str]()

    async def send(what: str) -> None:
        await asyncio.sleep(0.01)
        answered.append(what)

    socket = asyncio.create_task(limited({"type": "websocket"}, None, send))
    await asyncio.sleep(0)
    asked = [asyncio.create_task(limited({"type": "http"}, None, send)) for _ in range(requests)]
    await asyncio.wait(asked, timeout=1.0)
    for task in (socket, *asked):
        task.cancel()
    await asyncio.gather(socket, *asked, return_exceptions=True)
    return len(answered)


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        RequestLimitMiddleware, "__call__", RequestLimitMiddleware.__call__
    )  # which goes back afterwards
    open_sockets.leave_out()


def test_an_open_socket_takes_a_place_in_prefect() -> None:
    """So that nobody keeps our way for a Prefect that does not need it."""
    assert asyncio.run(answers(3)) == 0


def test_an_open_socket_takes_no_place_of_ours(ours: None) -> None:
    assert asyncio.run(answers(3)) == 3
