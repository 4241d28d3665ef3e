"""Where a model is asked: its address as it may be shown, and whether it is on this machine."""

import ipaddress
import urllib.parse

from flowrl.errors import UsageError

OPENAI_URL = "https://api.openai.com/v1"


def checked_url(base_url: str) -> str:
    """Returns the address without a slash at its end.

    Raises:
        UsageError: it is no http address, or has a query, which is no place for a key.
    """
    try:
        parts = urllib.parse.urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("--base-url is no http address. For example: --base-url http://127.0.0.1:8000/v1")
    if parts.query or parts.fragment:
        raise UsageError("--base-url has a query. Give the key by FLOWRL_API_KEY or --key-file, not in the address.")
    return base_url.rstrip("/")


def shown_url(base_url: str) -> str:
    """Returns the address without a user's name and password.

    >>> shown_url("http://me:secret@127.0.0.1:8000/v1")
    'http://127.0.0.1:8000/v1'
    """
    parts = urllib.parse.urlsplit(base_url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def url_secrets(base_url: str) -> tuple[str, ...]:
    """Returns what of the address must not be shown: its password, as written and as meant."""
    password = urllib.parse.urlsplit(base_url).password
    return () if not password else (password, urllib.parse.unquote(password))


def is_loopback(base_url: str) -> bool:
    """Returns whether the address is on this machine."""
    host = urllib.parse.urlsplit(base_url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
