"""Where and with which key a model is asked. The key is shown nowhere."""

import os
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from flowrl.errors import UsageError

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLES = ("FLOWRL_API_KEY", "OPENAI_API_KEY")


@dataclass(frozen=True)
class Endpoint:
    """A model at a server.

    Attributes:
        timeout: seconds for the whole answer, of which ``connect_timeout`` for the connection.
        max_tokens: length limit of an answer; the server's own if None.
    """

    model: str
    base_url: str
    key: SecretStr | None = None
    timeout: float = 300.0
    connect_timeout: float = 10.0
    max_tokens: int | None = None

    def __str__(self) -> str:
        return f"model {self.model!r} at {self.base_url}"

    def redact(self, text: str) -> str:
        """A server's words without the key. Nor anything shaped like one, nor lone surrogates."""
        if self.key:
            text = text.replace(self.key.get_secret_value(), "[key]")
        return re.sub(r"\bsk-[A-Za-z0-9_*.-]{6,}", "[key]", text).encode("utf-8", "replace").decode()


def checked_url(base_url: str) -> str:
    """The address without a trailing slash.

    Raises:
        UsageError: it is no http address, or may hold a secret, which command lines and logs would expose; it is not
            shown then.
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


def find_key(key_file: Path | None) -> SecretStr | None:
    """The key of the file, FLOWRL_API_KEY or OPENAI_API_KEY. The first that there is; None without any.

    Raises:
        UsageError: the file cannot be read, or its content cannot be a key; it is not shown.
    """
    if key_file is None:
        found = [(os.environ[name].strip(), name) for name in KEY_VARIABLES if os.environ.get(name, "").strip()]
        if not found:
            return None
        key, source = found[0]
    else:
        source = f"--key-file {key_file}"
        try:
            # Undecodable bytes are replaced, as the decoding error would hold the key.
            key = key_file.read_text(encoding="utf-8", errors="replace").strip()
        except OSError as error:
            raise UsageError(f"{source} cannot be read: {error.strerror}.") from error
    if not (key and key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(f"{source} holds no key: it is empty, or has blanks, line ends or letters that no key has.")
    return SecretStr(key)
