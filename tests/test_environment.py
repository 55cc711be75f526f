"""What a result was computed with."""

import json
import subprocess
import sys

from fedquad.store.environment import PACKAGES, environment


def test_it_names_machine_versions_and_threads() -> None:
    found = environment(threads=3)
    assert found["threads"] == 3
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"machine", "cores", "commit", *PACKAGES} <= set(found)
    assert all(found[package] for package in PACKAGES)


def test_it_is_plain_data() -> None:
    assert json.loads(json.dumps(environment(1))) == environment(1)


def test_it_imports_none_of_the_packages_it_names() -> None:
    program = (
        "from fedquad.store.environment import environment; import sys; environment(1); "
        "print([name for name in ('torch', 'transformers', 'prefect', 'mlflow') if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
        == "[]"
    )
