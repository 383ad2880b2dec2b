"""The schema's version: Alembic's migrations, run from here so that nobody needs its configuration file.

Alembic takes half a second to import, so that is done only where there is something to migrate.
"""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Text, column, inspect, select, table

from muster.ledger.database import Database

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_VERSION: Final = table("alembic_version", column("version_num", Text))


def head() -> str:
    """The revision that this version of Muster needs: migrations are files named by their number."""
    return max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


async def revision(database: Database) -> str | None:
    """The revision that the database has; None for an empty one."""
    async with database.engine.connect() as connection:
        if not await connection.run_sync(lambda it: inspect(it).has_table(_VERSION.name)):
            return None
        found: str | None = (await connection.execute(select(_VERSION.c.version_num))).scalar()
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
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(config, "head")
