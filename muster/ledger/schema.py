"""The schema's version: Alembic's migrations, run from here so that nobody needs its configuration file."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from muster.ledger.database import Database

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def head() -> str:
    """The revision that this version of Muster needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None, "there is a first migration"  # noqa: S101
    return revision


async def revision(database: Database) -> str | None:
    """The revision that the database has; None for an empty one."""
    async with database.engine.connect() as connection:
        found: str | None = await connection.run_sync(lambda it: MigrationContext.configure(it).get_current_revision())
        return found


async def upgrade(database: Database) -> str:
    """Bring the database to `head`, in one transaction; does nothing when it is there."""
    wanted = head()
    if await revision(database) != wanted:
        async with database.engine.connect() as plain:
            connection = await plain.execution_options(writes=True)
            async with connection.begin():
                await connection.run_sync(_upgrade)
    return wanted


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
