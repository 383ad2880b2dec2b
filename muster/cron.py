"""The cron secret: who may start a run from outside. In the environment, or in the ledger as a hash; two may be valid.

Rotating makes a new one and keeps the one before valid until the next rotation, so that callers can change over.
"""

import hashlib
import hmac
import secrets
from typing import Final

from muster.ledger import Book
from muster.settings import Settings

NEW: Final = "cron_secret"
OLD: Final = "cron_secret_previous"
HASHED: Final = "sha256:"  # what begins so is a hash; anything else was put there by hand as it is


async def is_cron_secret(book: Book, settings: Settings, given: str) -> bool:
    """Whether a caller knows a valid secret; how long the answer takes does not tell how near a guess came."""
    valid = [hash_of(it.get_secret_value()) for it in settings.cron_secrets]
    kept = [await book.readings.setting(key) for key in (NEW, OLD)]
    valid += [it.removeprefix(HASHED) if it.startswith(HASHED) else hash_of(it) for it in kept if it]
    matches = [hmac.compare_digest(hash_of(given), it) for it in valid]  # all of them, whichever fits
    return bool(given) and any(matches)


async def rotate(book: Book) -> str:
    """Make a new secret, which is nowhere to be read again; the one before stays valid beside it."""
    secret = secrets.token_urlsafe(32)
    await book.put_setting(NEW, HASHED + hash_of(secret), keep_as=OLD)
    return secret


def hash_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
