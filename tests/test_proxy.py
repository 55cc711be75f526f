"""The proxy's rules: all that a worker was seen to ask for passes, all else is refused. By a reading of the rules, and by Caddy where it is installed."""

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

RULES = Path(__file__).parents[1] / "deployments" / "server" / "Caddyfile"
RULE = re.compile(r"method\('([A-Z]+)'\) && path_regexp\('(\^[^']+\$)'\) \|\|")
UNTIDY = re.compile(r"@untidy expression `\{http\.request\.orig_uri\}\.matches\('([^']+)'\)`")
ID = "019e3c5e-8f6b-7f6a-a1b2-0123456789ab"
# What a device asks Prefect 3.8.8 for: its worker, the run that this starts, and the device's own status. Taken from a server's log; GET
# of events and of `connect` open sockets.
ASKED = [
    ("GET", "/api/health"),
    ("GET", "/api/admin/version"),
    ("GET", "/api/admin/storage"),
    ("GET", "/api/csrf-token"),
    ("GET", f"/api/deployments/{ID}"),
    ("GET", f"/api/flow_runs/{ID}"),
    ("GET", f"/api/flows/{ID}"),
    ("GET", "/api/work_pools/jetson-agx"),
    ("GET", "/api/work_pools/jetson-agx/queues/agx-07"),
    ("GET", "/api/work_pools/jetson-agx/workers/connect"),
    ("GET", f"/api/work_queues/{ID}"),
    ("GET", "/api/events/in"),
    ("GET", "/api/events/out"),
    ("PATCH", f"/api/flow_runs/{ID}"),
    ("PATCH", f"/api/flow_runs/{ID}/labels"),
    ("POST", f"/api/flow_runs/{ID}/set_state"),
    ("POST", "/api/logs/"),
    ("POST", "/api/events"),
    ("POST", "/api/work_pools/jetson-agx/get_scheduled_flow_runs"),
    ("POST", "/api/work_pools/jetson-agx/queues"),
    ("POST", "/api/work_pools/jetson-agx/queues/filter"),
    ("POST", "/api/work_pools/jetson-agx/workers/heartbeat"),  # these two where a socket cannot be opened
    ("POST", "/api/flow_runs/filter"),
]
ADAPTERS = [
    ("GET", "/api/2.0/mlflow-artifacts/artifacts/3/ab/cd.safetensors"),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/3/ab"),
]
# What whoever holds a device's password might like to ask for.
REFUSED = [
    ("POST", "/api/deployments/"),
    ("POST", f"/api/deployments/{ID}/create_flow_run"),
    ("PATCH", f"/api/deployments/{ID}"),
    ("DELETE", f"/api/deployments/{ID}"),
    ("POST", "/api/deployments/filter"),
    ("PATCH", "/api/work_pools/jetson-agx"),
    ("DELETE", "/api/work_pools/jetson-agx"),
    ("DELETE", "/api/work_pools/jetson-agx/queues/agx-07"),
    ("PATCH", "/api/work_pools/jetson-agx/queues/agx-07"),
    ("GET", "/api/work_pools/jetson-agx/queues/.."),
    ("POST", "/api/work_pools/"),
    ("POST", "/api/work_pools/filter"),
    ("POST", "/api/flow_runs/"),
    ("DELETE", f"/api/flow_runs/{ID}"),
    ("POST", "/api/artifacts/filter"),
    ("POST", "/api/block_documents/filter"),
    ("GET", "/api/variables/name/x"),
    ("POST", "/api/automations/"),
    ("POST", "/api/events/filter"),
    ("POST", "/api/logs/filter"),
    ("GET", "/api/admin/settings"),
    ("POST", "/api/admin/database/clear"),
    ("GET", "/"),
    ("GET", "/ui-settings"),
    ("GET", "/api/docs"),
    ("GET", "/openapi.json"),
    ("POST", "/api/work_pools/a/b/get_scheduled_flow_runs"),
    ("POST", "/api/work_pools/..%2fdeployments/get_scheduled_flow_runs"),
    ("POST", "/api/work_pools/x%2f..%2f..%2fdeployments%2f/get_scheduled_flow_runs"),
    ("POST", "/api/logs/../deployments/"),
    ("POST", "/api/logs/%2e%2e/deployments/"),
    ("POST", "//api/deployments/"),
    ("POST", "/api/deployments/?x=/api/logs/"),
    ("PUT", f"/api/flow_runs/{ID}"),
    ("GET", "/api/health/../deployments/"),
    ("POST", "/api/deployments/filter/../../logs/"),
    ("GET", "/api/flow_runs/count/..//..///health"),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/3/../4/ab"),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/3/%2e%2e/4/ab"),
    ("GET", "/api/2.0/mlflow/experiments/search"),
    ("POST", "/api/2.0/mlflow/users/create"),
    ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/3/ab"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts/x/y"),
    ("GET", "/get-artifact"),
    ("GET", "/ajax-api/2.0/mlflow/runs/search"),
]


def passes(method: str, path: str) -> bool:
    """Whether a rule lets it through."""
    rules = RULE.findall(RULES.read_text())
    assert len(rules) > 10
    (untidy,) = UNTIDY.findall(RULES.read_text())
    return not re.search(untidy, path) and any(one == method and re.search(pattern, path) for one, pattern in rules)


@pytest.mark.parametrize(("method", "path"), [*ASKED, *ADAPTERS])
def test_what_a_worker_asks_for_passes(method: str, path: str) -> None:
    assert passes(method, path)


@pytest.mark.parametrize(("method", "path"), REFUSED)
def test_all_else_is_refused(method: str, path: str) -> None:
    assert not passes(method, path)


def test_every_rule_is_needed() -> None:
    for method, pattern in RULE.findall(RULES.read_text()):
        assert any(one == method and re.search(pattern, path) for one, path in [*ASKED, *ADAPTERS]), pattern


class Upstream(BaseHTTPRequestHandler):
    """Answers everything with 200: what arrives here was let through."""

    def _answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def proxy(folder: Path) -> Iterator[int]:
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    behind = f"127.0.0.1:{upstream.server_port}"
    env = {
        **os.environ,
        "HOME": str(folder),
        "FEDQUAD_HOST": f"http://127.0.0.1:{port}",
        "FEDQUAD_PREFECT": behind,
        "FEDQUAD_MLFLOW": behind,
    }
    command = ["caddy", "run", "--config", str(RULES), "--adapter", "caddyfile"]
    running = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        running.kill()
        running.wait()
        upstream.shutdown()


def through(port: int, method: str, path: str) -> int:
    """The answer's code; the path goes out as it stands."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=False)
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.skipif(shutil.which("caddy") is None, reason="Caddy is not installed; the rules are read above")
def test_caddy_reads_the_rules_as_this_file_does(tmp_path: Path) -> None:
    with proxy(tmp_path) as port:
        assert {through(port, method, path) for method, path in [*ASKED, *ADAPTERS]} == {200}
        let_through = [one for one in REFUSED if through(port, *one) < 400]
    assert not let_through
