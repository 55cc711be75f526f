"""On SQLite Prefect's server takes a hundred requests at a time, and counts a websocket as one for as long as it is open.

A device and its run hold some eight (events, its worker's channel): with twelve devices all hundred are taken, and the server answers nobody
any more, not even whether it is well. So only requests are counted that have an answer and an end.
"""

from typing import Any

from prefect.server.api.server import RequestLimitMiddleware


def leave_out() -> None:
    """Have this process's server count no websockets."""
    limited = RequestLimitMiddleware.__call__

    async def call(self: Any, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await limited(self, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    RequestLimitMiddleware.__call__ = call  # type: ignore[method-assign]
