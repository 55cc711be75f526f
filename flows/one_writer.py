"""SQLite has one writer at a time: whoever begins to write waits for it.

Prefect begins a transaction by reading and asks for the right to write when it comes to that. SQLite refuses that at once, whatever
the timeout, where anybody has written in between ("database is locked"): with six devices, some requests in a hundred.
"""

from contextlib import AbstractAsyncContextManager
from typing import Any

from prefect.server.database.configurations import AioSqliteConfiguration


def wait_for_it() -> None:
    """Have every transaction of this process's server begin as a writer."""
    begin = AioSqliteConfiguration.begin_transaction

    def begin_as_writer(self: Any, session: Any, with_for_update: bool = False) -> AbstractAsyncContextManager[Any]:
        return begin(self, session, with_for_update=True)

    AioSqliteConfiguration.begin_transaction = begin_as_writer  # type: ignore[assignment, method-assign]
