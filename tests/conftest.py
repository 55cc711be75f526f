"""What holds for all tests: no Hypothesis deadlines, as many random cases as FUZZ_EXAMPLES says, the same terminal width wherever a
test runs, and one `fedquad up` for all tests of real devices.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

# On a busy machine an import or a neighbour takes longer than any fixed time.
settings.register_profile("fedquad", deadline=None)
settings.register_profile(
    "fuzz", deadline=None, max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")), print_blob=True
)
settings.load_profile("fuzz" if "FUZZ_EXAMPLES" in os.environ else "fedquad")


@pytest.fixture(autouse=True)
def _no_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest-xdist sets COLUMNS in its workers, which tables would be fitted to."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def real_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The servers, up from the first test that asks for them to the last of the session."""
    from real_home import Home

    from flows.server import free_port

    made = Home(tmp_path_factory.mktemp("r"))
    try:
        made.up("--port", str(free_port()), "--mlflow-port", str(free_port()))
        yield made
    finally:
        made.down()
