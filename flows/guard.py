"""Refuse an API that anyone can reach: whoever creates runs there runs code on its workers.

A process worker runs what a deployment's pull steps or job variables say, so the API listens on loopback or asks for a password.
"""

import ipaddress
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from fedquad.errors import ServiceError


def check_api(url: str) -> None:
    """Pass an API on loopback, or one that refuses a request without a password; raise on any other, and on one that is not there."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/admin/version", timeout=10):
            is_open = True
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise ServiceError(f"Prefect's API at {url} answers {error.code}; is PREFECT_API_URL right?") from None
        is_open = False
    except (OSError, ValueError) as error:
        raise ServiceError(
            f"Prefect's API at {url!r} does not answer ({error}); start it, or unset PREFECT_API_URL"
        ) from None
    if not is_open or is_loopback(urlsplit(url).hostname or ""):
        return
    raise ServiceError(
        f"Prefect's API at {url} listens beyond this machine and asks for no password: anyone who reaches it runs code on its workers; "
        f"set PREFECT_SERVER_API_AUTH_STRING there and PREFECT_API_AUTH_STRING here"
    )


def answers(url: str, seconds: float = 2.0) -> bool:
    """Whether a server says that it is well."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
