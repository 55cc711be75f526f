"""An exchange gives back exactly what was put, or says in a line why not: over a folder, memory and HTTP alike."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
import pytest
from artifact_server import Handler, serving
from hypothesis import given
from hypothesis import strategies as st

from fedquad.errors import ExchangeError
from fedquad.exchange.artifact_proxy import open_proxy
from fedquad.exchange.exchange import Exchange, open_exchange

NOTHING = hashlib.sha256(b"").hexdigest()
HOSTILE = (
    "",
    "../../etc/passwd",
    "a" * 63,
    "a" * 65,
    "A" * 64,
    "g" * 64,
    "/" + "a" * 63,
    "a" * 64 + "\n",
    "a" * 60 + "/../",
    "٣" * 64,  # digits, but not hex ones
    None,
    b"a" * 64,
)


@pytest.fixture(params=["folder", "memory", "http"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "http":
        with serving() as server:
            yield server.url
    elif request.param == "memory":
        yield f"memory://{tmp_path.name}"
        fsspec.filesystem("memory").store.clear()
    else:
        yield str(tmp_path / "exchange")


def test_what_is_put_is_had_by_its_digest(url: str) -> None:
    exchange = open_exchange(url, scope="campaign-1")
    for content in (b"", b"\0", os.urandom(3_000_000)):
        digest = exchange.put(content)
        assert digest == hashlib.sha256(content).hexdigest()
        assert open_exchange(url, scope="campaign-1").get(digest, len(content)) == content


@given(content=st.binary(max_size=200), others=st.lists(st.binary(max_size=3), max_size=3))
def test_a_content_survives_whatever_else_comes_and_goes(content: bytes, others: list[bytes]) -> None:
    exchange = open_exchange("memory://property")
    digests = [exchange.put(one) for one in [*others, content]]
    exchange.keep_only([digests[-1]])
    assert exchange.medium.names() == (digests[-1],)
    assert exchange.get(digests[-1], 200) == content


def test_a_content_that_is_there_is_not_sent_again() -> None:
    with serving() as server:
        exchange = open_exchange(server.url)
        for _ in range(3):
            exchange.put(b"adapter")
        exchange.put(b"")
        exchange.put(b"")
        assert [line.partition(" ")[0] for line in server.asked].count("PUT") == 2


def test_a_truncated_content_is_refused_and_mended_by_its_sender(url: str, tmp_path: Path) -> None:
    exchange = open_exchange(url)
    digest = exchange.put(b"0123456789")
    exchange.medium.write(digest, b"01234")
    with pytest.raises(ExchangeError, match=f"{digest[:12]} in .* is damaged: its 5 bytes have digest"):
        exchange.get(digest, 10)
    exchange.put(b"0123456789")
    assert exchange.get(digest, 10) == b"0123456789"


def test_another_content_under_a_digest_is_refused(url: str) -> None:
    exchange = open_exchange(url)
    digest = exchange.put(b"0123456789")
    exchange.medium.write(digest, b"9876543210")
    with pytest.raises(ExchangeError, match="is damaged"):
        exchange.get(digest, 10)


def test_a_content_larger_than_asked_for_is_refused(url: str) -> None:
    exchange = open_exchange(url)
    digest = exchange.put(bytes(1000))
    with pytest.raises(ExchangeError, match="has 1000 bytes, but at most 999 are taken"):
        exchange.get(digest, 999)
    assert len(exchange.get(digest, 1000)) == 1000


@pytest.mark.parametrize("digest", HOSTILE)
def test_nothing_but_a_digest_becomes_a_path(digest: str, tmp_path: Path) -> None:
    exchange = open_exchange(str(tmp_path))
    for ask in (
        lambda: exchange.get(digest, 10),
        lambda: exchange.drop([digest]),
        lambda: exchange.keep_only([digest]),
    ):
        with pytest.raises(ExchangeError, match="64 hex digits"):
            ask()


def test_contents_are_dropped_one_by_one_all_but_some_or_altogether(url: str) -> None:
    mine, theirs = open_exchange(url, scope="mine"), open_exchange(url, scope="theirs")
    kept, dropped, left = (mine.put(content) for content in (b"kept", b"dropped", b"left"))
    other = theirs.put(b"kept")
    mine.drop([dropped, NOTHING])
    with pytest.raises(ExchangeError, match="never put there, or removed since"):
        mine.get(dropped, 10)
    mine.keep_only([kept])
    assert mine.medium.names() == (kept,)
    mine.clear()
    mine.clear()
    assert mine.medium.names() == ()
    with pytest.raises(ExchangeError, match=f"{left[:12]} is not in"):
        mine.get(left, 10)
    assert theirs.get(other, 10) == b"kept"


def test_clearing_a_folder_leaves_what_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("unsaved")
    exchange = open_exchange(str(tmp_path))
    exchange.put(b"adapter")
    exchange.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_scope_goes_with_what_a_killed_writer_left(tmp_path: Path) -> None:
    exchange = open_exchange(str(tmp_path), scope="campaign-1")
    exchange.put(b"adapter")
    (tmp_path / "campaign-1" / f"{NOTHING}.12ab.partial").write_bytes(b"half")
    exchange.clear()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_shows_a_content_only_when_all_of_it_is_there(tmp_path: Path) -> None:
    content, is_done, seen = bytes(8_000_000), threading.Event(), set()
    path = tmp_path / "c" / hashlib.sha256(content).hexdigest()

    def watch() -> None:
        while not is_done.is_set():
            with suppress(FileNotFoundError):
                seen.add(path.stat().st_size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(10):
        open_exchange(str(tmp_path), scope="c").put(content)
        assert path.stat().st_size == len(content)
        open_exchange(str(tmp_path), scope="c").clear()
    is_done.set()
    watcher.join()
    assert seen <= {len(content)}


def test_a_full_or_forbidden_folder_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExchangeError, match="cannot look for"):
        open_exchange(str(tmp_path / "file")).put(b"adapter")
    (tmp_path / hashlib.sha256(b"pipe").hexdigest()).mkdir()
    with pytest.raises(ExchangeError, match="is no file but a directory"):
        open_exchange(str(tmp_path)).put(b"pipe")


def test_a_pipe_in_place_of_a_content_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NOTHING)
    with pytest.raises(ExchangeError, match="is no file but a other"):
        open_exchange(str(tmp_path)).get(NOTHING, 10)


def test_urls_that_cannot_be_used_are_refused() -> None:
    for url, said in (
        ("", "empty"),
        ("nonsense://there", "cannot be used"),
        ("simplecache::memory://", "chains file systems"),
        ("mlflow+http://", "HOST"),
        ("mlflow+http://localhost:port", "cannot be read"),
        ("mlflow+http://localhost?experiment=../1", "cannot be used"),
        ("mlflow+http://localhost?other=1", "cannot be used"),
        ("mlflow+http://user:secret@localhost", "holds a password"),
        ("s3://key:secret@bucket", "holds a password"),
    ):
        with pytest.raises(ExchangeError, match=said) as error:
            open_exchange(url)
        assert "secret" not in str(error.value)
    for scope in ("../up", "a/b", ".", "a b"):
        with pytest.raises(ExchangeError, match="scope cannot be"):
            open_exchange("memory://", scope=scope)


def impatient(url: str, seconds: float = 0.3) -> Exchange:
    return Exchange(replace(open_proxy(urlsplit(url), "", "", ""), patience_seconds=seconds))


def test_a_server_that_is_gone_is_tried_again_for_a_while_and_then_named() -> None:
    with serving() as server:
        exchange, port = impatient(server.url), server.server_address[1]
        digest = exchange.put(b"adapter")
    began = time.monotonic()
    with pytest.raises(ExchangeError, match=rf"127\.0\.0\.1:{port} \(fedquad-exchange\) cannot be reached: .*refused"):
        exchange.get(digest, 10)
    assert time.monotonic() - began < 5


def test_a_server_that_comes_back_is_not_noticed() -> None:
    with serving() as server:
        port = server.server_address[1]
    back = threading.Event()

    def restart() -> None:
        time.sleep(0.3)
        with serving(port):
            back.wait()

    thread = threading.Thread(target=restart)
    thread.start()
    exchange = impatient(f"mlflow+http://127.0.0.1:{port}", 20)
    assert exchange.get(exchange.put(b"adapter"), 10) == b"adapter"
    back.set()
    thread.join()


def break_off(handler: Handler, content: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.close_connection = True


def hang_up(handler: Handler, content: bytes) -> None:
    handler.connection.close()


def be_busy(handler: Handler, content: bytes) -> None:
    handler.answer(503, b"try later")


@pytest.mark.parametrize("fault", [break_off, hang_up, be_busy])
def test_an_answer_that_breaks_off_is_asked_for_again(fault: object) -> None:
    with serving() as server:
        exchange = impatient(server.url, 20)
        digest = exchange.put(content := os.urandom(500_000))
        server.faults = [fault, fault]  # type: ignore[list-item]
        assert exchange.get(digest, 500_000) == content
        assert server.faults == []


def test_a_declared_2_gb_is_refused_before_its_body() -> None:
    def declare(handler: Handler, content: bytes) -> None:
        handler.answer(200, b"", {"Content-Length": str(2 * 10**9)})

    with serving() as server:
        exchange = impatient(server.url)
        digest = exchange.put(b"adapter")
        server.faults = [declare]
        began = time.monotonic()
        with pytest.raises(ExchangeError, match="has 2000000000 bytes, but at most 100 are taken"):
            exchange.get(digest, 100)
        assert time.monotonic() - began < 1
        assert server.faults == []


def test_a_body_without_end_and_length_is_left_early() -> None:
    sent = []

    def pour(handler: Handler, content: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()  # no length: to the end of the connection
        for _ in range(1000):
            handler.wfile.write(bytes(1 << 20))
            sent.append(1)

    with serving() as server:
        exchange = impatient(server.url)
        digest = exchange.put(b"adapter")
        server.faults = [pour]
        with pytest.raises(ExchangeError, match="has over 100 bytes"):
            exchange.get(digest, 100)
        assert len(sent) < 100


def test_a_user_and_a_password_are_sent_and_a_wrong_one_is_named_without_trying_again() -> None:
    with serving(login="agx-07:secret") as server:
        known = open_exchange(server.url, user="agx-07", password="secret")
        assert known.get(known.put(b"adapter"), 10) == b"adapter"
        assert "Basic" not in repr(known)
        asked = len(server.asked)
        with pytest.raises(ExchangeError, match=r"refuses this user \(401\)") as error:
            open_exchange(server.url, user="agx-07", password="guess").put(b"adapter")
        assert len(server.asked) == asked + 1
        assert "guess" not in str(error.value)


def test_a_server_of_another_kind_is_named() -> None:
    def fail(handler: Handler, content: bytes) -> None:
        handler.answer(400, b"no\nsuch thing")

    with serving() as server:
        with pytest.raises(ExchangeError, match="is this an MLflow server"):
            open_exchange(f"{server.url}/elsewhere").put(b"adapter")
        exchange = open_exchange(server.url)
        digest = exchange.put(b"adapter")
        for listing in (b"<html>", b"[]", b'{"files": 1}', b'{"files": [{}]}', b"[" * 100_000):
            server.listing = listing
            with pytest.raises(ExchangeError, match="answered no list of artifacts"):
                exchange.keep_only([])
        server.faults = [fail]
        with pytest.raises(ExchangeError, match="answered 400 to GET: no such thing"):
            exchange.get(digest, 10)


def test_an_experiment_stands_at_the_head_of_the_path() -> None:
    with serving() as server:
        digest = open_exchange(f"{server.url}?experiment=7", scope="c:1").put(b"adapter")
        assert list(server.contents) == [f"7/fedquad-exchange/c:1/{digest}"]
