"""What holds for all tests: no Hypothesis deadlines, as many random cases as FUZZ_EXAMPLES says, and the same terminal width wherever a test runs."""

import os

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
