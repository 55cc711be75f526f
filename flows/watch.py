"""Notice that nobody wants our work any more: a run that was cancelled or deleted, a server that is gone.

Prefect's client waits minutes for a dead server, one call after the other, and hears of a cancelled run only at the next one. What is
committed is on disk, so the process ends at once, in one line; `campaign resume` goes on from there.
"""

import base64
import contextlib
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from fedquad.errors import ServiceError

EVERY_SECONDS = 2.0
GONE_SECONDS = 10.0  # of refused connections; a server that stands still and answers later is waited for
RESTART_SECONDS = 120.0  # the same, where devices train: a server that is restarted costs them nothing
ANSWER_SECONDS = 5.0
ENDED = ("CANCELLING", "CANCELLED")


def end(reason: str) -> None:
    """End this process, its training processes and its server with it."""
    print(
        f"\nfedquad: {reason}; `fedquad campaign resume NAME` goes on after the last finished round",
        file=sys.stderr,
        flush=True,
    )
    os._exit(ServiceError.exit_code)


class Watch:
    """Looks after some runs of one API, from a thread of its own."""

    def __init__(self, api: str, auth: str = "", on_end: Callable[[str], None] = end) -> None:
        self.api, self.auth, self.on_end = api.rstrip("/"), auth, on_end
        self.runs: dict[str, str] = {}  # id -> what it is, in words
        self.patience = GONE_SECONDS
        self._begun = False

    @contextlib.contextmanager
    def over(self, run_id: str, what: str, patience: float = 0.0) -> Iterator[None]:
        """Watch a run while the block lasts; a server may refuse connections for GONE_SECONDS, or for as long as the most patient run allows."""
        self.patience = max(self.patience, patience)
        self.runs[run_id] = what
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._look_after, daemon=True, name="watch").start()
        try:
            yield
        finally:
            self.runs.pop(run_id, None)

    def _look_after(self) -> None:
        refused_since: float | None = None
        while True:
            time.sleep(EVERY_SECONDS)
            for run_id, what in tuple(self.runs.items()):
                try:
                    reason = self._reason(run_id, what)
                except ConnectionError:
                    refused_since = refused_since or time.monotonic()
                    is_gone = time.monotonic() - refused_since > self.patience - ANSWER_SECONDS
                    reason = f"Prefect's server at {self.api} is gone" if is_gone else ""
                else:
                    refused_since = None
                if reason and run_id in self.runs:
                    self.on_end(reason)

    def _reason(self, run_id: str, what: str) -> str:
        """Why a run's work is for nothing, or nothing."""
        request = urllib.request.Request(f"{self.api}/flow_runs/{run_id}")
        if self.auth:
            request.add_header("Authorization", f"Basic {base64.b64encode(self.auth.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
                run: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            return f"{what} was deleted in Prefect" if error.code == 404 else ""
        except urllib.error.URLError as error:
            if isinstance(error.reason, ConnectionError):
                raise error.reason from None
            return ""  # it stands still, or is too busy to answer
        except (OSError, ValueError) as error:
            if isinstance(error, ConnectionError):
                raise
            return ""
        return f"{what} was cancelled in Prefect" if run.get("state_type") in ENDED else ""


_WATCHES: dict[str, Watch] = {}


def over(run_id: object, what: str, patience: float = 0.0) -> contextlib.AbstractContextManager[None]:
    """Watch one of our own runs, on the API that this process works with."""
    api = os.environ.get("PREFECT_API_URL", "")
    if not api or not run_id:
        return contextlib.nullcontext()
    if api not in _WATCHES:
        _WATCHES[api] = Watch(api, os.environ.get("PREFECT_API_AUTH_STRING", ""))
    return _WATCHES[api].over(str(run_id), what, patience)
