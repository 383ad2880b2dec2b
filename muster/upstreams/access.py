"""What every adapter needs before its first call: an address that is one, and a key."""

import re
from functools import cache
from typing import Final

import httpx
from pydantic import SecretStr

from muster.errors import ConfigurationError
from muster.outcomes import ErrorKind, Retry
from muster.upstreams.answers import Unanswered

_HOST: Final = re.compile(r"[\w.-]+|[0-9a-f:.]+", re.IGNORECASE)  # a name, or an address of IPv4 or IPv6


@cache  # asked for each attempt, and httpx takes a tenth of a millisecond for a URL
def address(text: str, variable: str, example: str) -> str:
    """A base URL without a slash at its end.

    Raises:
        ConfigurationError: it is no http(s) URL; the sentence names the variable, not the value, which may hold a key.
    """
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in {"http", "https"} or not _HOST.fullmatch(url.host) or url.query or url.fragment:
        raise ConfigurationError(f"{variable} is not a plain http(s) URL; it looks like {example}.")
    return str(url).rstrip("/")


def secret(key: SecretStr | None, variable: str) -> str:
    """The key itself, for the header that carries it.

    Raises:
        Unanswered: `denied`, there is no key, or it cannot be one.
    """
    told = key.get_secret_value().strip() if key else ""
    if not told:
        raise _denied(f"{variable} is not set; set it and resume the batch.")
    if not told.isascii() or not told.isprintable() or " " in told:
        raise _denied(f"{variable} holds characters that no key has; set it again and resume the batch.")
    return told


def bearer(key: SecretStr | None, variable: str) -> dict[str, str]:
    """The usual header that carries the key.

    Raises:
        Unanswered: `denied`, there is no key, or it cannot be one.
    """
    return {"authorization": f"Bearer {secret(key, variable)}"}


def _denied(error: str) -> Unanswered:
    return Unanswered(Retry(kind=ErrorKind.DENIED, error=error))
