"""What begins side by side ends together."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import prefect


class Broken(BaseHTTPRequestHandler):
    """An API of the right version that can do nothing else than say so."""

    def do_GET(self) -> None:
        is_known = self.path.endswith("/admin/version")
        content = f'"{prefect.__version__}"'.encode() if is_known else b"{}"
        self.send_response(200 if is_known else 500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_run_that_cannot_be_made_ends_what_was_being_prepared(tmp_path: Path) -> None:
    """Prefect's server answers 500 while the model loads: that is what is said, and nothing of a loading that nobody waits for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_"))}
    place = {"FEDQUAD_HOME": str(tmp_path), "PREFECT_API_URL": f"http://127.0.0.1:{server.server_port}/api"}
    ended = subprocess.run(
        [sys.executable, "-m", "fedquad.cli.main", "campaign", "run", "quickstart", "--name", "one"],
        env={**kept, **place},
        capture_output=True,
        text=True,
        timeout=120,
    )
    server.shutdown()
    assert ended.returncode
    assert "500 Internal Server Error" in ended.stderr
    assert "never retrieved" not in ended.stderr
