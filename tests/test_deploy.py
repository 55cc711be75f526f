"""Deployments for real: a Prefect server and workers on loopback, a campaign made through the API, a fleet behind a work pool."""

import json
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest
from office import Office

from flows.provision import DEPLOYED

pytestmark = [pytest.mark.server, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with Office(tmp_path_factory.mktemp("office")).opened() as made:
        yield made


COMPARED = (
    "description", "version", "tags", "entrypoint", "path", "pull_steps", "work_pool_name", "job_variables", "parameters",
    "parameter_openapi_schema", "enforce_parameter_schema", "concurrency_options", "schedules", "paused", "storage_document_id",
)  # fmt: skip


def deployed(office: Office) -> dict[str, dict[str, Any]]:
    found = {}
    for one in DEPLOYED:
        name = f"{one.entrypoint.rpartition('.')[2]}/{one.name}"
        told = office.api(f"/deployments/name/{name}")
        limit = told["global_concurrency_limit"]
        found[name] = {**{key: told[key] for key in COMPARED}, "limit": limit and limit["limit"]}
    return found


def test_prefect_yaml_deploys_just_what_up_provisions(office: Office) -> None:
    provisioned = deployed(office)
    office.prefect("--no-prompt", "deploy", "--all")
    assert deployed(office) == provisioned
    campaign = provisioned["campaign/campaign"]
    assert (campaign["limit"], campaign["concurrency_options"]["collision_strategy"]) == (1, "ENQUEUE")


def test_the_form_offers_every_setting_with_its_sentence_bounds_and_choices(office: Office) -> None:
    schema = office.api("/deployments/name/campaign/campaign")["parameter_openapi_schema"]
    properties, definitions = schema["properties"], schema["definitions"]
    assert list(properties) == ["preset", "name", "methods", "rounds", "seeds", "settings", "until", "spec"]
    assert [properties[key]["position"] for key in properties] == list(range(len(properties)))
    assert all(properties[key].get("description") for key in properties)
    assert "quickstart" in definitions["Preset"]["enum"]
    assert {"fedquad", "fedlora:oracle", "legend:paced"} <= set(definitions["Method"]["enum"])
    assert properties["rounds"]["minimum"] == 0
    assert properties["seeds"]["items"]["minimum"] == 0
    assert [key for key, said in properties.items() if "anyOf" in said] == [
        "spec"
    ]  # which the page hides behind a switch
    assert definitions["ModelSpec"]["properties"]["attention"]["enum"] == ["eager", "sdpa"]
    assert all(p["description"] for p in definitions["CampaignSpec"]["properties"].values())


@pytest.mark.parametrize("name", [f"{one.entrypoint.rpartition('.')[2]}/{one.name}" for one in DEPLOYED])
def test_every_parameter_of_every_deployment_says_what_it_is(office: Office, name: str) -> None:
    properties = office.api(f"/deployments/name/{name}")["parameter_openapi_schema"]["properties"]
    assert properties
    assert all(said.get("description") for said in properties.values())


def test_a_campaign_made_through_the_api_runs_on_the_worker(office: Office) -> None:
    settings = {"data.train": 240, "data.validation": 64, "data.test": 64, "training.steps": 1, "training.batch": 4}
    with office.worker("campaigns"):
        chosen = {
            "preset": "quickstart",
            "name": "from-the-form",
            "methods": ["fedlora:exclusive"],
            "rounds": 2,
            "settings": settings,
        }
        run = office.wait(office.create_run("campaign/campaign", chosen))
    assert run["state_type"] == "COMPLETED", run["state"]
    assert run["name"] == "from-the-form"
    document = json.loads((office.home / "campaigns" / "from-the-form" / "summary.json").read_text())
    assert [(arm["label"], len(arm["rounds"])) for arm in document["arms"]] == [("fedlora:exclusive", 2)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"spec": {"colour": 1}},
        {"spec": {"training": {"stepz": 1}}},
        {"spec": {"arms": [{"methood": "fedlora"}]}},
        {"rounds": "many"},
        {"rounds": -1},
        {"until": -1},
        {"seeds": [-1]},
        {"methods": ["fedavg"]},
        {"preset": "mine"},
        {"name": "../elsewhere"},
        {"settings": {"training.stepz": 1}},
    ],
)
def test_the_form_refuses_what_it_does_not_know_at_every_level(office: Office, wrong: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        office.create_run("campaign/campaign", wrong)
    assert refused.value.code == 409 or refused.value.code == 422
