"""`fedquad up --database-url`: Prefect keeps what it knows in a real PostgreSQL; a run goes through it, and a restart finds it again.

First with the password in the environment, then without, from a file of libpq's form.
"""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import postgres
import pytest
from real_campaigns import TINY, fedquad, summary
from real_home import Home

from flows.server import free_port

REASON = postgres.why_not()
pytestmark = [pytest.mark.server, pytest.mark.timeout(600), pytest.mark.skipif(bool(REASON), reason=REASON)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[postgres.Cluster]:
    with postgres.cluster() as made:
        yield made


@pytest.fixture(scope="module")
def status(cluster: postgres.Cluster, home: Home) -> dict[str, Any]:
    return summary(fedquad("up", "--status", "--json", env=home.env, cwd=home.folder))


@pytest.fixture(scope="module")
def home(cluster: postgres.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("p"))
    made.env["FEDQUAD_DATABASE_URL"] = cluster.with_password
    try:
        made.up("--port", str(free_port()), "--mlflow-port", str(free_port()))
        del made.env["FEDQUAD_DATABASE_URL"]  # kept, with the other options, for the next time
        yield made
    finally:
        made.down()


def test_what_runs_knows_its_database_and_says_no_password(status: dict[str, Any], cluster: postgres.Cluster) -> None:
    assert status["database"] == "postgres"
    assert {one["state"] for one in status["servers"]} == {"running"}
    assert status["pools"]["campaigns"] == 1
    assert cluster.password not in json.dumps(status)


def test_pools_and_deployments_are_in_postgres_and_nothing_in_a_file(home: Home, cluster: postgres.Cluster) -> None:
    pools = set(cluster.ask("select name from work_pool").split())
    assert {"campaigns", "jetson-agx", "jetson-tx2"} <= pools
    assert int(cluster.ask("select count(*) from deployment")) >= len(pools) - 1
    assert not list((home.home / "prefect").glob("*.db*"))
    kept = home.home / "servers" / "place.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600  # the one file with the password


def test_a_campaign_and_a_restart_go_through_it(home: Home, cluster: postgres.Cluster, tmp_path: Path) -> None:
    spec = tmp_path / "tiny.yaml"
    spec.write_text(TINY.replace("rounds: 3", "rounds: 1").replace(', {method: "fedlora:oracle"}', ""))
    answer = fedquad("campaign", "run", str(spec), env=home.env, cwd=home.folder)
    assert answer.returncode == 0, answer.stderr
    query = "select count(*) from flow_run where state_type = 'COMPLETED'"
    ran = int(cluster.ask(query))
    assert ran >= 2  # the campaign and its arm
    home.kill("prefect")
    secrets = home.folder / "pgpass"
    secrets.write_text(f"127.0.0.1:{cluster.port}:prefect:fedquad:{cluster.password}\n")
    secrets.chmod(0o600)
    home.env["PGPASSFILE"] = str(secrets)
    home.up("--database-url", cluster.url)
    assert cluster.password not in (home.home / "servers" / "place.json").read_text()
    assert len(home.api("/flow_runs/filter", {"limit": 50})) >= ran
