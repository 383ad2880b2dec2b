"""What databases raise, and which of it waiting can mend.

What asyncpg raises while it connects reaches us as it is: SQLAlchemy wraps only what a statement raises.
"""

from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError, OperationalError

ASYNCPG: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_LOCK_NOT_AVAILABLE: Final = "55P03"
_PASSING_SQLITE: Final = ("locked", "busy", "disk i/o", "full", "unable to open")
# Connections, an idle one, serialization, resources, a lock, a shutdown.
_PASSING_POSTGRES: Final = ("08", "25P03", "40", "53", "55P03", "57P")


def passes(trouble: BaseException) -> bool:
    """Whether the database may be well again by itself."""
    if isinstance(trouble, OSError):
        return True
    if isinstance(trouble, DBAPIError) and trouble.connection_invalidated:
        return True
    cause = trouble.orig if isinstance(trouble, DBAPIError) else trouble
    if code := getattr(cause, "sqlstate", None):
        return str(code).startswith(_PASSING_POSTGRES)
    if isinstance(cause, ASYNCPG):
        return not isinstance(cause, ValueError)  # a connection that broke; the others are settings that are none
    return isinstance(trouble, OperationalError) and any(word in str(cause).lower() for word in _PASSING_SQLITE)


def waited_for_lock(trouble: DBAPIError) -> bool:
    """Whether PostgreSQL gave up waiting for a lock that somebody else held for too long."""
    return getattr(trouble.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE


def cause_of(trouble: BaseException) -> str:
    """What the database itself said, in one line."""
    orig = getattr(trouble, "orig", None) or trouble
    return " ".join(str(orig.__cause__ or orig).split()).rstrip(".") or type(orig).__name__
