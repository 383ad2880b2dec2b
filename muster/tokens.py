"""Tokens of the HTTP API: made once, told once, kept as a hash, compared in a time that tells nothing."""

import hmac
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from muster.cron import hash_of
from muster.errors import MusterError
from muster.ledger import Book
from muster.ledger.database import Row

PREFIX: Final = "muster_"  # so that scanners for leaked secrets know one when they see it


async def make(book: Book, name: str, client_id: str | None) -> tuple[int, str]:
    """Make a token for one client, or with none for all; its id, and itself, which is nowhere to be read again.

    Raises:
        NotFound: no such client.
    """
    token = PREFIX + secrets.token_urlsafe(32)
    return await book.tokens.create(name, client_id, hash_of(token)), token


def known(tokens: Sequence[Row], given: str) -> Row | None:
    """The token that a caller showed, unless it is revoked; all of them are compared, whichever fits."""
    hashed = hash_of(given)
    fits = [it for it in tokens if hmac.compare_digest(it["hash"], hashed) and it["revoked_at"] is None]
    return fits[0] if fits else None


async def note_use(book: Book, token: Row) -> None:
    """Write down that a token was used, if that was not done a moment ago; nobody is turned away for it."""
    with suppress(MusterError):
        if not await book.tokens.is_use_noted(token):
            await book.tokens.used(token["id"])
