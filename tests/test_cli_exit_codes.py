"""docs/exit-codes.md, errors.py and what the command line does say the same."""

import re
from pathlib import Path

from fedquad import errors

PAGE = Path(__file__).parents[1] / "docs" / "exit-codes.md"


def documented() -> dict[str, int]:
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: int(code) for code, name in rows}


def test_the_page_lists_every_error_with_its_code() -> None:
    classes = [
        item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.FedquadError)
    ]
    assert documented() == {item.__name__: item.exit_code for item in classes}


def test_no_two_errors_share_a_code() -> None:
    assert len(set(documented().values())) == len(documented())
