"""A device's own credentials: a user of MLflow's that sees the experiment which adapters are exchanged in, and nothing else.

    python -m flows.invite agx-07 --server https://fleet.example.org

Run on the server's machine, which finds its own credentials by itself; writes agx-07.json (mode 600) for the board. Prefect knows one
password, so that the board holds it too; what it may do with it is the proxy's to say (deployments/server/Caddyfile).
"""

import argparse
import base64
import json
import secrets
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from fedquad.errors import FedquadError, ServiceError, SpecError, quoted
from fedquad.spec import NAME, NAMED
from fedquad.store.servers import Servers, read_servers, write_servers
from tasks.exchange_url import EXPERIMENT

PERMISSION = "EDIT"  # fetch and send; removing is the server's


def invite(ours: Servers, name: str, server: str, out: Path) -> None:
    """Make the user, or give the one there is a new password, and write the device's file."""
    if not NAME.fullmatch(name):
        raise SpecError(f"a device cannot be named {quoted(name)}: {NAMED}")
    password = secrets.token_urlsafe(24)
    is_new = True
    try:
        _ask(ours, "POST", "2.0/mlflow/users/create", {"username": name, "password": password})
    except ServiceError:  # it exists
        is_new = False
        _ask(ours, "PATCH", "2.0/mlflow/users/update-password", {"username": name, "password": password})
    grant = {"username": name, "resource_type": "experiment", "resource_id": EXPERIMENT, "permission": PERMISSION}
    try:
        _ask(ours, "POST", "3.0/mlflow/users/permissions/grant", grant)
    except ServiceError:  # it has it already
        if is_new:
            raise
    address = server.rstrip("/")
    write_servers(
        Servers(
            prefect_url=f"{address}/api",
            prefect_auth=ours.prefect_auth,
            mlflow_url=address,
            mlflow_user=name,
            mlflow_password=password,
        ),
        out,
    )


def _ask(ours: Servers, method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{ours.mlflow_url}/api/{path}", data=data, method=method)
    request.add_header("Content-Type", "application/json")
    pair = f"{ours.mlflow_user}:{ours.mlflow_password}"
    request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise ServiceError(
            f"MLflow at {ours.mlflow_url} answers {error.code} to {method} {path.partition('?')[0]}"
        ) from None
    except (OSError, ValueError) as error:
        raise ServiceError(
            f"MLflow at {ours.mlflow_url} does not answer ({error}); `fedquad up --status` says what runs"
        ) from None
    return json.loads(text) if text else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m flows.invite", description="Make a device's own credentials.")
    parser.add_argument("name", help="the device's name")
    parser.add_argument("--server", required=True, help="the address by which the device reaches this server")
    parser.add_argument("--out", type=Path, help="the file; NAME.json unless told")
    asked = parser.parse_args()
    try:
        ours = read_servers()
        if ours is None:
            raise ServiceError(
                "there are no credentials.json of a server here; `fedquad up` makes one, docs/server.md says how to write one"
            )
        out = asked.out or Path(f"{asked.name}.json")
        invite(ours, asked.name, asked.server, out)
    except FedquadError as error:
        print(f"fedquad: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{out}: copy it to the board, mode 600, for `fedquad device serve --credentials`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
