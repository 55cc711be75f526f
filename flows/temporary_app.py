"""Prefect's server as our own commands start it: it answers to loopback's names alone, so that no web page can reach it by another."""

from typing import Any

from prefect.server.api.server import create_app as prefect_app
from starlette.middleware.trustedhost import TrustedHostMiddleware


def create_app() -> Any:
    return TrustedHostMiddleware(prefect_app(), allowed_hosts=["127.0.0.1", "localhost"])
