"""Where a model is asked: an address that holds no secret."""

import urllib.parse

from flowrl.errors import UsageError

OPENAI_URL = "https://api.openai.com/v1"


def checked_url(base_url: str) -> str:
    """Returns the address without a slash at its end.

    Raises:
        UsageError: it is no http address, or it may hold a secret: command lines and addresses are seen by others and
            logged. The address is not shown then.
    """
    try:
        parts = urllib.parse.urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("--base-url is no http address. For example: --base-url http://127.0.0.1:8000/v1")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError(
            "--base-url holds a password or a query, which others can see. Give a key by FLOWRL_API_KEY or --key-file."
        )
    return base_url.rstrip("/")
