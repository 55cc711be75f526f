"""The exchange over a real MLflow server: its routes are those that the installed version has."""

from pathlib import Path

import pytest

from benchmarks.exchange import mlflow_server
from fedquad.errors import ExchangeError
from fedquad.exchange.exchange import open_exchange

pytestmark = pytest.mark.server


def test_contents_go_through_mlflows_artifact_proxy(tmp_path: Path) -> None:
    adapter = bytes(range(256)) * 6250
    with mlflow_server(tmp_path) as (url, _):
        exchange = open_exchange(f"{url}?experiment=0", scope="campaign:1")
        digests = [exchange.put(content) for content in (adapter, b"", b"scalars")]
        folder = tmp_path / "artifacts" / "0" / "fedquad-exchange" / "campaign:1"
        assert {path.name for path in folder.iterdir()} == set(digests)
        assert [exchange.get(digest, len(adapter)) for digest in digests] == [adapter, b"", b"scalars"]
        assert [exchange.medium.size(digest) for digest in digests] == [len(adapter), 0, 7]
        before = (folder / digests[0]).stat().st_mtime_ns
        exchange.put(adapter)
        assert (folder / digests[0]).stat().st_mtime_ns == before
        with pytest.raises(ExchangeError, match=f"has {len(adapter)} bytes, but at most 100"):
            exchange.get(digests[0], 100)
        (folder / digests[0]).write_bytes(adapter[:-1])
        with pytest.raises(ExchangeError, match="is damaged"):
            exchange.get(digests[0], len(adapter))
        exchange.keep_only(digests[1:])
        exchange.drop(digests[:2])
        assert exchange.medium.names() == (digests[2],)
        with pytest.raises(ExchangeError, match="never put there, or removed since"):
            exchange.get(digests[0], 100)
        exchange.clear()
        exchange.clear()
        assert exchange.medium.names() == ()
        assert not folder.exists()
