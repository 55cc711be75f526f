"""Prefect's server as `fedquad up` starts it: on loopback it answers to loopback's names alone, so that no web page reaches it by another."""

import os
from typing import Any

from prefect.server.api.server import create_app as prefect_app
from starlette.middleware.trustedhost import TrustedHostMiddleware

from flows import one_writer, open_sockets

HOSTS = "FEDQUAD_ALLOWED_HOSTS"


def create_app() -> Any:
    one_writer.wait_for_it()
    open_sockets.leave_out()
    return TrustedHostMiddleware(prefect_app(), allowed_hosts=os.environ[HOSTS].split(","))
