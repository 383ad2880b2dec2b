"""How the ledger is connected to: what SQLite and PostgreSQL have to be told."""

import logging
from pathlib import Path
from typing import Any, Final

import orjson
from sqlalchemy import event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from muster.errors import ConfigurationError

# PostgreSQL frees the locks of a process that was frozen in a transaction, and those that it waits for even sooner.
POSTGRES: Final = {
    "application_name": "muster",
    "idle_in_transaction_session_timeout": "5000",
    "lock_timeout": "4000",
}
LOCK_WAIT_S: Final = 30  # a SQLite writer waits for another before it tries anew
CONNECTIONS: Final = 24


def engine_for(address: str, patience_s: float) -> AsyncEngine:
    """The way to the ledger at an address; whoever wants a connection waits for so many seconds.

    Raises:
        ConfigurationError: no such address can be used.
    """
    try:
        url = make_url(address)
        is_sqlite = url.get_backend_name() == "sqlite"
        if is_sqlite and url.database:
            _make_folder(Path(url.database).parent)
        engine = create_async_engine(
            url,
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
            connect_args={"timeout": LOCK_WAIT_S} | ({} if is_sqlite else {"server_settings": POSTGRES}),
            hide_parameters=True,  # errors and logs do not repeat values, some of which are secrets
            pool_pre_ping=not is_sqlite,  # a restarted server leaves dead connections behind
            pool_size=CONNECTIONS // 4,
            max_overflow=CONNECTIONS - CONNECTIONS // 4,
            pool_timeout=patience_s,
        )
    except (ArgumentError, ImportError, ValueError) as wrong:
        raise ConfigurationError(
            "MUSTER_DATABASE_URL: not an address that Muster can use"
            f" ({type(wrong).__name__}); try postgresql://user:password@host/database or sqlite:///path/to/file."
        ) from None
    if is_sqlite:
        logging.getLogger("aiosqlite").setLevel(logging.INFO)  # below it repeats every value of every statement
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as trouble:
        raise ConfigurationError(f"The ledger's folder {folder} cannot be made: {trouble.strerror}.") from None


def _prepare_sqlite(connection: Any, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")
