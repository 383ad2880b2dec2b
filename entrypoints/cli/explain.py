"""`muster explain`: why a batch or an item has not run yet, or how it ended."""

from typing import Annotated

import typer

from entrypoints.cli.batches import MOST_DIGITS, Json, known_batch
from entrypoints.cli.speech import run, say, say_json
from muster.errors import BadInput
from muster.explain import explain_batch, explain_item
from muster.settings import Settings
from muster.wiring import open_book


def explain(
    what: Annotated[str, typer.Argument(metavar="BATCH[/ITEM]", help="A batch's number; an item's key after a slash.")],
    as_json: Json = False,
) -> None:
    """Say why a batch or an item waits, for what and until when, or how it ended.

    \b
    muster explain 12
    muster explain 12/linkedin/jane-doe
    """  # noqa: D301, click's own sign for "do not wrap"
    number, _, key = what.partition("/")
    if len(number) > MOST_DIGITS or not number.isdecimal():
        raise BadInput(
            f"{what[:60]!r} is neither a batch's number nor a batch's item, such as 12 or 12/linkedin/jane-doe."
        )

    async def work() -> list[str]:
        async with open_book(Settings.read()) as book:
            batch = await known_batch(book, int(number))
            facts = await book.explaining.facts(batch["id"])
            if not key:
                return explain_batch(facts)
            item, before = await book.explaining.item(batch["id"], key)
            return explain_item(item, before, facts)

    sentences = run(work())
    if as_json:
        say_json({"of": what, "sentences": sentences})
    else:
        say("\n".join(sentences))
