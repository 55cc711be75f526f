"""What holds for all tests: no Hypothesis deadlines, and the same terminal width wherever a test runs."""

import pytest
from hypothesis import settings

# On a busy machine an import or a neighbour takes longer than any fixed time.
settings.register_profile("fedquad", deadline=None)
settings.load_profile("fedquad")


@pytest.fixture(autouse=True)
def _no_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest-xdist sets COLUMNS in its workers, which tables would be fitted to."""
    monkeypatch.delenv("COLUMNS", raising=False)
