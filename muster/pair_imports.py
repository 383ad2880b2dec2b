"""CSV files of endpoint pairs: read like all others, and no error repeats what a line holds."""

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from muster.imports import checked

HEADER: Final = "header:"  # what the columns of a session's headers begin with
MOST_LETTERS: Final = 8_000  # of a cookie or header
MOST_IN_NAME: Final = 100  # letters of a header's name
PORT: Final = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
ADDRESS: Final = rf"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):{PORT}$"
COOKIE: Final = "[!-:<>-~]+=[ -:<-~]*"  # printable, without what parts cookies
COOKIES: Final = rf"^({COOKIE}(; *{COOKIE})*;? *)?$"
NAME: Final = "^[ -9;-~]*$"  # RFC 7617: a colon would end it
PRINTABLE: Final = "^[ -~]*$"


def _address(value: str) -> str:
    if not re.fullmatch(ADDRESS, value):
        raise ValueError("must be host:port; credentials have columns of their own")
    return value.lower()


def _cookies(value: str) -> str:
    if not re.fullmatch(COOKIES, value):
        raise ValueError("must look like name=value; other=value")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(NAME, value):
        raise ValueError("must be printable ASCII without a colon")
    return value


def _password(value: str) -> str:
    if not re.fullmatch(PRINTABLE, value):
        raise ValueError("must be printable ASCII")
    return value


def read_cookies(told: str) -> dict[str, str]:
    """Cookies as a browser sends them: `name=value; other=value`."""
    parts = (part.strip().partition("=") for part in told.split(";") if part.strip())
    return {name: value for name, _, value in parts}


HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=MOST_IN_NAME)]
HeaderValue = Annotated[str, Field(pattern=r"^[\x20-\x7e\t]*$", max_length=MOST_LETTERS)]
Headers = dict[HeaderName, HeaderValue]
_HEADERS: Final = TypeAdapter[Headers](Headers)


Name = Annotated[str, AfterValidator(_name), Field(max_length=500, json_schema_extra={"pattern": NAME})]
Password = Annotated[str, AfterValidator(_password), Field(max_length=500, json_schema_extra={"pattern": PRINTABLE})]
Cookies = Annotated[
    str, AfterValidator(_cookies), Field(max_length=MOST_LETTERS, json_schema_extra={"pattern": COOKIES})
]


class PairRow(BaseModel):
    """A proxy with its session; what it holds shows in no error."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True)

    address: Annotated[str, AfterValidator(_address)] = Field(
        max_length=300, description="host:port", json_schema_extra={"pattern": ADDRESS}
    )
    scheme: Literal["http", "https"] = "http"
    username: Name | None = Field(None, repr=False)
    password: Password | None = Field(None, repr=False)
    cookie: Cookies | None = Field(None, repr=False, description="as a browser sends it: `name=value; other=value`")

    def pair(self, headers: Headers) -> dict[str, Any]:
        """The pair as the ledger takes it, with the headers of its session."""
        kept = self.model_dump(include={"address", "scheme", "username", "password"})
        return {**kept, "cookies": read_cookies(self.cookie or ""), "headers": headers}


class ProxyRow(PairRow):
    """A line of a file: every column beyond a pair's own is a header of its session."""

    model_config = ConfigDict(extra="allow")

    @property
    def headers(self) -> Headers:
        """The headers; an empty cell is none."""
        return {name[len(HEADER) :]: value for name, value in (self.model_extra or {}).items() if value}


def read_proxies(path: Path) -> list[dict[str, Any]]:
    """The endpoint pairs of a file: a proxy and its session in each line.

    Raises:
        BadInput: it cannot be read, or lines of it cannot be taken; every one is named, without what it holds.
    """
    sessions = set[str]()

    def also(row: ProxyRow) -> str | None:
        if unknown := [name for name in row.model_extra or {} if not name.startswith(HEADER)]:
            return f"unknown column {unknown[0][:60]!r}; a session's headers are columns such as {HEADER}x-app-id"
        try:
            _HEADERS.validate_python(row.headers)
        except ValidationError:
            return f"a column {HEADER}NAME whose name or value no HTTP header may have"
        if row.cookie and row.cookie in sessions:
            return "the same session as in a line before; each proxy has its own"
        sessions.add(row.cookie or "")
        return None

    rows = checked(path, ProxyRow, required=("address",), key=lambda row: row.address, also=also)
    return [row.pair(row.headers) for row in rows]
