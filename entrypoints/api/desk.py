"""What every operation has at hand: the ledger, the settings, the work beside, and who asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from entrypoints.api.gate import CRON_HEADER, Caller
from entrypoints.api.problems import NOTHING_HERE
from entrypoints.api.works import Works
from muster.errors import NotFound
from muster.ledger import Book
from muster.ledger.pages import Page
from muster.settings import Settings

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Desk:
    """The ledger, the settings, and the work that goes on beside the answers."""

    book: Book
    settings: Settings
    works: Works


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def _operator(request: Request) -> Caller:
    """Whoever may see all clients; to others there is nothing here."""
    caller = _caller(request)
    if caller.client is not None:
        raise NotFound(NOTHING_HERE)
    return caller


At = Annotated[Desk, Depends(_desk)]
Who = Annotated[Caller, Depends(_caller)]
Operator = Annotated[Caller, Depends(_operator)]
OPERATORS = Depends(_operator)
# The gate has looked at them before; here they are only described.
TOKEN = Security(HTTPBearer(auto_error=False, description="A token of `muster tokens create`."))
SECRET = Security(APIKeyHeader(name=CRON_HEADER, auto_error=False, description="The cron secret."))


async def batch_for(caller: Caller, book: Book, batch_id: int) -> Row:
    """A batch, if it is there for the caller; another client's is as if it were not.

    Raises:
        NotFound: it is not.
    """
    unknown = NotFound(f"There is no batch {batch_id}.")
    try:
        row = await book.readings.batch(batch_id)
    except NotFound:
        raise unknown from None
    if not caller.sees(row["client_id"]):
        raise unknown
    return row


def one_more(limit: int, cursor: int | None) -> Page:
    """A page, and one row more, which tells whether there is a next one."""
    return Page(limit + 1, cursor)


def cut(rows: Sequence[Row], limit: int, key: str) -> tuple[Sequence[Row], int | None]:
    """The page, and the cursor of the next one, if there is one."""
    shown = rows[:limit]
    return shown, shown[-1][key] if len(rows) > limit else None
