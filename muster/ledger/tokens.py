"""The HTTP API's tokens in the ledger: only their hashes, whom they stand for, and when they were last used."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import select, update

from muster.errors import NotFound
from muster.ledger.clients import unknown_client
from muster.ledger.database import Database, Row, Tx, reads, writes
from muster.ledger.tables import CLIENT, TOKEN

USE_NOTED: Final = timedelta(minutes=1)  # a use is written down no more often


class Tokens:
    """The tokens' pages of the ledger."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    async def create(self, tx: Tx, name: str, client_id: str | None, hashed: str) -> int:
        """Keep a token's hash, for one client or, with none, for all; its id.

        Raises:
            NotFound: no such client.
        """
        known = select(CLIENT.c.id).where(CLIENT.c.id == client_id)
        if client_id is not None and await tx.value(known) is None:
            raise NotFound(unknown_client(client_id))
        row = {"name": name, "client_id": client_id, "hash": hashed, "created_at": await tx.now()}
        token_id: int = await tx.value(tx.insert(TOKEN).values(row).returning(TOKEN.c.id))
        return token_id

    @reads
    async def all(self, tx: Tx) -> Sequence[Row]:
        """Every token, revoked ones too, in the order in which they were made."""
        return await tx.rows(select(TOKEN).order_by(TOKEN.c.id))

    @writes
    async def revoke(self, tx: Tx, token_id: int) -> None:
        """Let the token open nothing any more; one that was revoked before keeps its time.

        Raises:
            NotFound: no such token.
        """
        token = await tx.row(select(TOKEN).where(TOKEN.c.id == token_id).with_for_update())
        if token is None:
            raise NotFound(f"There is no token {token_id}; `muster tokens list` shows them.")
        if token["revoked_at"] is None:
            await tx.run(update(TOKEN).where(TOKEN.c.id == token_id).values(revoked_at=await tx.now()))

    @writes
    async def used(self, tx: Tx, token_id: int) -> None:
        """Write down that the token was used now."""
        await tx.run(update(TOKEN).where(TOKEN.c.id == token_id).values(last_used_at=await tx.now()))

    @reads
    async def is_use_noted(self, tx: Tx, token: Row) -> bool:
        """Whether a use of the token was written down a moment ago."""
        noted = token["last_used_at"]
        return noted is not None and await tx.now() - noted < USE_NOTED
