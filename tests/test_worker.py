"""What a fedquad worker takes and what it refuses, in this process; tests/test_attacks.py tries the same through the API."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.workers.base import BaseWorker

from fedquad.errors import SpecError
from flows import provision, registered, worker


def job(template: dict[str, Any], **values: Any) -> worker.FedquadJob:
    return asyncio.run(worker.FedquadJob.from_template_and_values(template, values))


def deployment(**changes: Any) -> Any:
    ours = {"name": "mine", "pull_steps": None, "storage_document_id": None, "entrypoint": registered.REGISTERED[0]}
    return SimpleNamespace(**{**ours, **changes})


def test_prefect_finds_the_worker_type_by_its_entry_point() -> None:
    assert BaseWorker.get_worker_class_from_type("fedquad") is worker.FedquadWorker
    assert worker.FedquadWorker.get_default_base_job_template() == worker.TEMPLATE


@pytest.mark.parametrize("entrypoint", registered.REGISTERED)
def test_every_registered_entry_point_is_a_flow(entrypoint: str) -> None:
    assert registered.load(entrypoint).name == entrypoint.rpartition(".")[2]


@pytest.mark.parametrize(
    "entrypoint", [None, "", "os.system", "flows.campaign", "flows/campaign.py:campaign", "flows.campaign.campaign "]
)
def test_no_other_name_is_imported(entrypoint: str | None) -> None:
    with pytest.raises(SpecError, match="no entry point of ours"):
        registered.load(entrypoint)


def test_our_own_template_and_what_is_harmless_pass() -> None:
    job(worker.TEMPLATE)
    job({"job_configuration": {"name": "{{ name }}"}, "variables": {"properties": {"name": {}}}}, stream_output=False)


@pytest.mark.parametrize("key", ["command", "env", "working_dir", "image"])
def test_a_setting_is_refused_wherever_it_comes_from(key: str) -> None:
    for template, values in (
        ({"job_configuration": {key: "x"}}, {}),
        ({"job_configuration": {}, "variables": {"properties": {key: {"default": "x"}}}}, {}),
        (worker.TEMPLATE, {key: "x"}),
        (worker.TEMPLATE, {f"{key}.deeper": "x"}),
    ):
        with pytest.raises(SpecError, match=f"asks for '{key}'"):
            job(template, **values)


@pytest.mark.parametrize(
    "changes",
    [
        {"pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "true"}}]},
        {"storage_document_id": "1"},
        {"entrypoint": "elsewhere.flow"},
        {"entrypoint": None},
    ],
)
def test_a_deployment_with_code_of_its_own_is_refused(changes: dict[str, Any]) -> None:
    worker.check(deployment())
    with pytest.raises(SpecError):
        worker.check(deployment(**changes))


def test_a_run_of_no_deployment_is_refused() -> None:
    with pytest.raises(SpecError, match="of none"):
        worker.check(None)


def test_every_deployment_runs_what_is_registered_in_a_pool_that_there_is() -> None:
    assert {one.entrypoint for one in provision.DEPLOYED} == set(registered.REGISTERED)
    assert {one.pool for one in provision.DEPLOYED} == set(provision.POOLS)
