"""Addresses of ledgers, as operators write them."""

from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

DRIVERS: Final = {"postgres": "postgresql+asyncpg", "postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}


def sqlalchemy_url(address: str) -> URL:
    """The address with its asynchronous driver; no sentence here repeats it, since it may hold a password.

    Raises:
        ValueError: it is none, or none that Muster can use.
    """
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        url = URL.create("none")
    plain, _, driver = url.drivername.partition("+")
    if plain not in DRIVERS or (driver and url.drivername != DRIVERS[plain]):
        raise ValueError("must look like postgresql://user:password@host/database or sqlite:///path/to/file")
    if plain == "sqlite" and url.database in {None, "", ":memory:"}:
        raise ValueError("needs a file, such as sqlite:///path/to/file; a ledger in memory would be forgotten")
    if not 0 < (url.port or 5432) < 1 << 16:
        raise ValueError("the port must be between 1 and 65535")
    if "password" in url.query:
        raise ValueError("the password belongs before the host, as in postgresql://user:password@host/database")
    if sslmode := url.query.get("sslmode"):  # libpq's word, which hosting companies print; asyncpg's is `ssl`
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": sslmode})
    return url.set(drivername=DRIVERS[plain])
