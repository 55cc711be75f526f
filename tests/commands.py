"""Run the command line inside the test's process, as `fedquad ...` would."""

import json
import sys
from typing import Any, NamedTuple

from fedquad.cli import main


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def fedquad(capsys: Any, monkeypatch: Any, *arguments: str) -> Said:
    """The exit code, and what was written to stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["fedquad", *arguments])
    capsys.readouterr()
    try:
        main.main()
    except SystemExit as end:
        captured = capsys.readouterr()
        return Said(int(end.code or 0), captured.out, captured.err)
    raise AssertionError("main() ends the process")
