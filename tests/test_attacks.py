"""What whoever has the server's password tries on a worker: none of it runs. Through the API, on a real server and worker.

All hostile runs are made first, so that one worker's start serves all of them; each test looks at its own.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from office import ROOT, Office

pytestmark = [pytest.mark.server, pytest.mark.timeout(420)]
CAMPAIGN = {"preset": "quickstart", "name": "never"}
EVIL = "from prefect import flow\n@flow\ndef evil():\n    open({mark!r}, 'w').close()\n"
PROCESS_TEMPLATE = {
    "job_configuration": {"command": "{{ command }}", "env": "{{ env }}", "working_dir": "{{ working_dir }}"},
    "variables": {
        "type": "object",
        "properties": {"command": {"type": "string"}, "env": {"type": "object"}, "working_dir": {"type": "string"}},
    },
}


@dataclass
class Attacker:
    """One try each: what it would leave, and the run that should leave it."""

    office: Office
    runs: dict[str, str]

    def mark(self, name: str) -> Path:
        return self.office.folder / f"was-here-{name}"

    def deployment(self, name: str, **asked: Any) -> str:
        """A deployment of one's own in our pool, beside ours."""
        flow = self.office.api("/flows/", {"name": asked.pop("flow", "campaign")})
        ours = {"entrypoint": "flows.campaign.campaign", "work_pool_name": "campaigns"}
        return self.office.api("/deployments/", {"name": name, "flow_id": flow["id"], **ours, **asked})["id"]  # type: ignore[no-any-return]

    def run(self, name: str, deployment: str = "", **asked: Any) -> None:
        deployment = deployment or self.office.api("/deployments/name/campaign/campaign")["id"]
        made = self.office.api(f"/deployments/{deployment}/create_flow_run", {"parameters": CAMPAIGN, **asked})
        self.runs[name] = made["id"]

    def template(self, template: dict[str, Any]) -> None:
        self.office.api("/work_pools/campaigns", {"base_job_template": template}, method="PATCH")

    def ended(self, name: str) -> dict[str, Any]:
        return self.office.wait(self.runs[name], 90)


def prepare(attacker: Attacker) -> None:
    """Everything that a process worker would have run."""
    hook = attacker.office.folder / "hook"
    (hook / "flows").mkdir(parents=True)
    (hook / "sitecustomize.py").write_text(f"open({str(attacker.mark('env'))!r}, 'w').close()\n")
    (hook / "flows" / "__init__.py").write_text(f"open({str(attacker.mark('folder'))!r}, 'w').close()\n")
    attacker.run("command", job_variables={"command": f"touch {attacker.mark('command')}"})
    attacker.run("env", job_variables={"env": {"PYTHONPATH": str(hook)}})
    attacker.run("dotted", job_variables={"env.PYTHONPATH": str(hook)})
    attacker.run("folder", job_variables={"working_dir": str(hook)})
    command = {"command": f"touch {attacker.mark('deployment')}"}
    attacker.run("deployment", attacker.deployment("variables", job_variables=command))
    shell = {"prefect.deployments.steps.run_shell_script": {"script": f"touch {attacker.mark('pull')}"}}
    attacker.run("pull", attacker.deployment("pull", pull_steps=[shell]))
    script = attacker.office.folder / "evil.py"
    script.write_text(EVIL.format(mark=str(attacker.mark("script"))))
    attacker.run("script", attacker.deployment("script", flow="evil", entrypoint=f"{script}:evil", path="."))
    attacker.run("module", attacker.deployment("module", flow="evil", entrypoint="evil.evil"))
    attacker.run("builtin", attacker.deployment("builtin", flow="evil", entrypoint="os.system"))
    flow = attacker.office.api("/flows/", {"name": "campaign"})["id"]
    bare = {"flow_id": flow, "work_pool_name": "campaigns", "state": {"type": "SCHEDULED"}}
    attacker.runs["bare"] = attacker.office.api("/flow_runs/", bare)["id"]


@pytest.fixture(scope="module")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    with Office(tmp_path_factory.mktemp("attacks")).opened() as office:
        office.env["PREFECT_WORKER_HEARTBEAT_SECONDS"] = "3"  # how often a worker reads its pool's template
        made = Attacker(office, {})
        prepare(made)
        with office.worker("campaigns", limit=5):
            yield made


def refused(attacker: Attacker, name: str, reason: str) -> None:
    """The run has ended with the reason, and nothing that anyone tried has left a trace."""
    run = attacker.ended(name)
    assert run["state_type"] == "CRASHED", run["state"]
    assert reason in run["state"]["message"]
    assert not list(attacker.office.folder.glob("was-here-*"))
    assert not (attacker.office.home / "campaigns").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("command", "asks for 'command'"),
        ("env", "asks for 'env'"),
        ("dotted", "asks for 'env'"),
        ("folder", "asks for 'working_dir'"),
        ("deployment", "asks for 'command'"),
        ("pull", "pull steps"),
        ("script", "evil.py:evil"),
        ("module", "'evil.evil'"),
        ("builtin", "'os.system'"),
        ("bare", "of none"),
    ],
)
def test_a_run_that_asks_for_more_than_our_flows_is_refused_with_the_reason(
    attacker: Attacker, name: str, reason: str
) -> None:
    refused(attacker, name, reason)


@pytest.mark.parametrize("how", ["offered", "written in"])
def test_a_template_rewritten_meanwhile_gives_nothing(attacker: Attacker, how: str) -> None:
    """A template that lets a run choose its command, and one that has the command itself, for every run."""
    touch = f"touch {attacker.mark('template')}"
    fixed = {**PROCESS_TEMPLATE, "job_configuration": {"command": touch, "env": {"X": "1"}}}
    attacker.template(PROCESS_TEMPLATE if how == "offered" else fixed)
    module = attacker.office.api("/deployments/name/evil/module")[
        "id"
    ]  # refused anyway; the reason says which template was read
    for _ in range(20):
        attacker.run(how, module, **({"job_variables": {"command": touch}} if how == "offered" else {}))
        if "the pool's template" in attacker.ended(how)["state"]["message"]:
            break
    refused(attacker, how, "the pool's template asks for 'command', 'env'")


def test_a_deployment_rewritten_after_the_worker_looked_gives_nothing(attacker: Attacker) -> None:
    """What the worker starts reads the entry point itself, and takes it for a key."""
    attacker.run("late", attacker.deployment("late", flow="evil", entrypoint="evil.evil"), state={"type": "PENDING"})
    env = {
        **attacker.office.env,
        "PREFECT__FLOW_RUN_ID": attacker.runs["late"],
        "PYTHONPATH": f"{ROOT}:{attacker.office.folder}",
    }
    done = subprocess.run([sys.executable, "-m", "flows.registered"], env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "'evil.evil' is no entry point of ours" in done.stderr
    assert not list(attacker.office.folder.glob("was-here-*"))


def test_a_server_that_has_much_to_complain_of_still_answers(attacker: Attacker) -> None:
    """Its complaints went into a pipe that nobody read: after 64 kB of tracebacks it stood still, and every campaign with it."""
    process = attacker.office.server._process
    assert process is not None
    with open(
        os.open(f"/proc/{process.pid}/fd/2", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK), "wb", buffering=0
    ) as complaints:
        for _ in range(20):
            assert complaints.write(b"x" * 10_000) == 10_000
    assert attacker.office.api("/health") is True
