"""Prefect's server as our own commands start it: it answers to loopback's names alone, so that no web page can reach it by another,
and it forgets a round's records in one request, where Prefect's API takes one for each (and two seconds whenever two of them meet).
"""

import asyncio
from typing import Annotated, Any
from uuid import UUID

from fedquad import garbage

with garbage.seldom_sought():
    import sqlalchemy as sa
    from fastapi import Body
    from prefect.server.api.server import create_app as prefect_app
    from prefect.server.database import provide_database_interface
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from flows import one_writer, open_sockets

WRITTEN_SECONDS = 3.0  # by then it has
PENDING: set[asyncio.Task[None]] = set()
Ids = Annotated[list[UUID], Body(max_length=1000)]


async def forget(task_runs: Ids, artifacts: Ids) -> None:
    """Delete these records; and once more what Prefect's recorder, which writes many at once (flows/server.py), has yet to write."""
    await delete(task_runs, artifacts)
    later = asyncio.create_task(delete_again(task_runs))
    PENDING.add(later)
    later.add_done_callback(PENDING.discard)


async def delete_again(task_runs: list[UUID]) -> None:
    await asyncio.sleep(WRITTEN_SECONDS)
    await delete(task_runs, [])


async def delete(task_runs: list[UUID], artifacts: list[UUID]) -> None:
    db = provide_database_interface()
    async with db.session_context(begin_transaction=True) as session:
        for table, ids in ((db.TaskRun, task_runs), (db.Artifact, artifacts)):
            await session.execute(sa.delete(table).where(table.id.in_(ids)))


def create_app() -> Any:
    garbage.leave_at_exit()
    one_writer.wait_for_it()
    open_sockets.leave_out()
    app: Any = prefect_app()
    app.api_app.add_api_route("/fedquad/forget", forget, methods=["POST"])  # behind the password, as all of the API
    return TrustedHostMiddleware(app, allowed_hosts=["127.0.0.1", "localhost"])
