"""An exchange that is away is waited for; one that refuses is not, and one that stays away is named."""

import asyncio
import threading
import time
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

import pytest
from artifact_server import serving

from fedquad.errors import ExchangeError
from fedquad.exchange.artifact_proxy import open_proxy
from fedquad.exchange.exchange import Exchange
from fedquad.exchange.medium import Away
from fedquad.exchange.patience import patiently


def exchange(url: str, user: str = "") -> Exchange:
    return Exchange(replace(open_proxy(urlsplit(url), "", user, user), patience_seconds=0.2))


def test_a_server_that_comes_back_after_the_proxys_own_patience_gets_the_content() -> None:
    with serving() as server:
        port, url = server.server_address[1], server.url
    said: list[str] = []
    done = threading.Event()

    def come_back() -> None:
        time.sleep(1.5)
        with serving(port):
            done.wait(30)

    thread = threading.Thread(target=come_back)
    thread.start()
    try:
        put = partial(exchange(url).put, b"adapter")
        digest = asyncio.run(patiently(put, until=time.monotonic() + 30, tell=said.append))
        assert exchange(url).get(digest, 10) == b"adapter"
    finally:
        done.set()
        thread.join()
    assert said
    assert all("cannot be reached" in one and one.endswith("asking again") for one in said)


def test_a_server_that_stays_away_is_named_when_the_time_is_up() -> None:
    with serving() as server:
        url = server.url
    with pytest.raises(Away, match="cannot be reached"):
        asyncio.run(patiently(partial(exchange(url).put, b"x"), until=time.monotonic() + 1.5, tell=lambda said: None))


def test_what_is_refused_or_missing_is_not_asked_again() -> None:
    def never(said: str) -> None:
        raise AssertionError(said)

    with serving(login="me:right") as server, pytest.raises(ExchangeError, match="refuses this user") as refused:
        asyncio.run(patiently(partial(exchange(server.url, "me").put, b"x"), until=time.monotonic() + 30, tell=never))
    assert not isinstance(refused.value, Away)
    with serving() as server:
        get = partial(exchange(server.url).get, "0" * 64, 10)
        with pytest.raises(ExchangeError, match="never put there"):
            asyncio.run(patiently(get, until=time.monotonic() + 30, tell=never))
