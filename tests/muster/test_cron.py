"""The cron secret: from the environment or the ledger, two valid at once, nowhere to be read."""

from pydantic import SecretStr

from muster.cron import NEW, OLD, is_cron_secret, rotate
from muster.ledger import Book
from muster.settings import Settings


async def test_the_environments_secrets_are_both_valid(book: Book):
    settings = Settings.model_validate({"CRON_SECRET": SecretStr("new"), "CRON_SECRET_PREVIOUS": "old"})

    assert [await is_cron_secret(book, settings, it) for it in ("new", "old", "other", "", "new ")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert "new" not in repr(settings)


async def test_without_any_secret_nobody_is_let_in(book: Book):
    assert not await is_cron_secret(book, Settings(), "")
    assert not await is_cron_secret(book, Settings(), "None")


async def test_after_a_rotation_the_one_before_is_valid_until_the_next(book: Book):
    settings = Settings()
    first, second, third = [await rotate(book) for _ in range(3)]

    assert [await is_cron_secret(book, settings, it) for it in (first, second, third)] == [False, True, True]


async def test_the_ledger_keeps_only_hashes_of_what_it_made(book: Book):
    secrets = [await rotate(book), await rotate(book)]

    kept = [await book.readings.setting(key) for key in (NEW, OLD)]
    assert all(it and it.startswith("sha256:") for it in kept)
    assert not any(secret in str(kept) for secret in secrets)
    assert not await is_cron_secret(book, Settings(), str(kept[0]))  # the hash itself opens nothing


async def test_a_secret_that_was_put_there_by_hand_is_valid(book: Book):
    await book.put_setting(NEW, "by-hand")

    assert await is_cron_secret(book, Settings(), "by-hand")
