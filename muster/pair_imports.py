"""CSV files of endpoint pairs: read like all others, and no error repeats what a line holds."""

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from muster.imports import OneLine, checked

HEADER: Final = "header:"  # what the columns of a session's headers begin with


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host) or not port.isdecimal() or int(port) >= 1 << 16:
        raise ValueError("must be host:port; credentials have columns of their own")
    return value.lower()


def _cookies(value: str | None) -> str | None:
    if value is not None and not all("=" in part for part in value.split(";") if part.strip()):
        raise ValueError("must look like name=value; other=value")
    return value


def read_cookies(told: str) -> dict[str, str]:
    """Cookies as a browser sends them: `name=value; other=value`."""
    parts = (part.strip().partition("=") for part in told.split(";") if part.strip())
    return {name: value for name, _, value in parts}


class ProxyRow(BaseModel):
    """A proxy with its session; what it holds shows in no error."""

    model_config = ConfigDict(extra="allow", str_strip_whitespace=True, hide_input_in_errors=True)

    address: Annotated[str, AfterValidator(_address)]
    scheme: Literal["http", "https"] = "http"
    username: OneLine | None = Field(None, max_length=500, repr=False)
    password: OneLine | None = Field(None, max_length=500, repr=False)
    cookie: Annotated[OneLine | None, AfterValidator(_cookies)] = Field(None, max_length=8_000, repr=False)

    @property
    def pair(self) -> dict[str, Any]:
        """The pair as the ledger takes it."""
        headers = {name[len(HEADER) :]: value for name, value in (self.model_extra or {}).items()}
        kept = self.model_dump(include={"address", "scheme", "username", "password"})
        return {**kept, "cookies": read_cookies(self.cookie or ""), "headers": headers}


def read_proxies(path: Path) -> list[dict[str, Any]]:
    """The endpoint pairs of a file: a proxy and its session in each line.

    Raises:
        BadInput: it cannot be read, or lines of it cannot be taken; every one is named, without what it holds.
    """
    sessions = set[str]()

    def also(row: ProxyRow) -> str | None:
        if unknown := [name for name in row.model_extra or {} if not name.startswith(HEADER)]:
            return f"unknown column {unknown[0][:60]!r}; a session's headers are columns such as {HEADER}x-app-id"
        if row.cookie and row.cookie in sessions:
            return "the same session as in a line before; each proxy has its own"
        sessions.add(row.cookie or "")
        return None

    rows = checked(path, ProxyRow, required=("address",), key=lambda row: row.address, also=also)
    return [row.pair for row in rows]
