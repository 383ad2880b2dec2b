"""What may stand in an address, a query or a body: numbers as far as a database counts, moments, words."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Path, Query
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from muster.workloads import SHELF

MOST_ID: Final = 2**53 - 1  # what a number in JSON is exact to; a database counts farther
MOST_SEQ: Final = 2**31 - 1  # items of one batch
MOST_A_PAGE: Final = 200
MOST_NAMED: Final = 10_000  # in one request
USUAL_PAGE: Final = 50
STRICT: Final = ConfigDict(extra="forbid", strict=True)
_MOMENT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)  # RFC 3339
_LAST_SECOND: Final = 59


def _moment(given: Any) -> datetime:
    found = _MOMENT.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise ValueError("must be a moment such as 2026-11-22T03:00:00Z")
    day, minute, second, fraction, zone = found.groups()
    second = f"{min(int(second), _LAST_SECOND):02}"  # RFC 3339 knows leap seconds, Python does not
    moment = datetime.fromisoformat(f"{day}T{minute}:{second}{(fraction or '')[:7]}{zone.upper()}")
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # in year 1 or 9999 of another zone
        return moment.replace(tzinfo=UTC)


def _flag(given: Any) -> Any:
    if given in ("true", "false"):
        return given == "true"
    raise ValueError("must be true or false")


def _whole(given: Any) -> Any:
    """To JSON 1.0 is as whole as 1."""
    return int(given) if isinstance(given, float) and given.is_integer() else given


def _workload(name: str) -> str:
    if name not in SHELF:
        raise ValueError(f"must be one of {', '.join(SHELF)}")
    return name


Whole = BeforeValidator(_whole)
Number = Annotated[int, Field(ge=1, le=MOST_ID), Whole]
BatchId = Annotated[int, Path(ge=1, le=MOST_ID, description="The batch's number.")]
RunId = Annotated[int, Path(ge=1, le=MOST_ID, description="The run's number.")]
Cursor = Annotated[
    int | None, Query(ge=1, le=MOST_ID, description="`next` of the page before; left out, the first page.")
]
ItemCursor = Annotated[int | None, Query(ge=0, le=MOST_SEQ, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MOST_A_PAGE, description="Most rows of a page.")]
Word = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]  # PostgreSQL keeps no NUL
Workload = Annotated[str, AfterValidator(_workload), Field(json_schema_extra={"enum": list(SHELF)})]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Flag = Annotated[bool, BeforeValidator(_flag)]
