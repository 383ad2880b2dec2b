"""Clients in the ledger: imported, listed, changed."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select, update

from muster.errors import NotFound
from muster.ledger.database import Database, Tx, reads, writes
from muster.ledger.tables import CLIENT, Client


class Clients:
    """The clients' pages of the ledger."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    async def put(self, tx: Tx, rows: Sequence[Mapping[str, Any]]) -> int:
        """Create clients, or change the given columns of those that are there; all of them or none."""
        for row in rows:
            whole = Client.model_validate({"name": row["id"], **row}).model_dump()
            changes = {name: value for name, value in row.items() if name != "id"}
            statement = tx.insert(CLIENT).values(**whole)
            if changes:
                await tx.run(statement.on_conflict_do_update(index_elements=["id"], set_=changes))
            else:
                await tx.run(statement.on_conflict_do_nothing())
        return len(rows)

    @writes
    async def change(self, tx: Tx, client_id: str, changes: Mapping[str, Any]) -> None:
        """Change some columns of one client.

        Raises:
            NotFound: no such client.
        """
        if not await tx.run(update(CLIENT).where(CLIENT.c.id == client_id).values(**changes)):
            raise NotFound(unknown_client(client_id))

    @reads
    async def is_there(self, tx: Tx, client_id: str) -> bool:
        """Whether there is such a client."""
        return await tx.value(select(CLIENT.c.id).where(CLIENT.c.id == client_id)) is not None

    @reads
    async def all(self, tx: Tx) -> list[Client]:
        """Every client, in the order of their ids."""
        return [Client.model_validate(dict(row)) for row in await tx.rows(select(CLIENT).order_by(CLIENT.c.id))]


def unknown_client(client_id: str) -> str:
    """The sentence for a client that is not there."""
    return f"There is no client {client_id!r}; `muster clients list` shows them."
