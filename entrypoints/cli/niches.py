"""`muster niches`: groups of a client's profiles, each with a daily story target."""

from typing import Annotated, Any, Final

import typer

from entrypoints.cli.speech import pick, run, say, say_json, say_table
from muster.errors import NotFound
from muster.ledger.clients import unknown_client
from muster.settings import Settings
from muster.wiring import open_book

HEAD: Final = ("client", "niche", "daily target", "profiles", "found today")
COLUMNS: Final = ("client_id", "name", "daily_story_target", "profiles", "found")

app = typer.Typer(help="Groups of a client's profiles, each with a daily story target.", no_args_is_help=True)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Show every niche, and at how many of its profiles a story was found today."""

    async def work() -> list[dict[str, Any]]:
        settings = Settings.read()
        async with open_book(settings) as book:
            return [dict(row) for row in await book.stories.niches(settings.midnight(await book.readings.now()))]

    rows = run(work())
    if as_json:
        say_json({"niches": rows})
    elif rows:
        say_table(HEAD, [pick(row, *COLUMNS) for row in rows])
    else:
        say("No niches yet; the column `niche` of `muster profiles import` makes them.")


@app.command("set")
def set_(
    client: Annotated[str, typer.Argument(help="The client's id.")],
    niche: Annotated[str, typer.Argument(help="The niche's name; made if it is not there.")],
    target: Annotated[int, typer.Option(help="Stories a day, after which no more profiles are checked.", min=0)],
) -> None:
    """Set a niche's daily story target.

    \b
    muster niches set acme travel --target 10
    """  # noqa: D301, click's own sign for "do not wrap"

    async def work() -> None:
        async with open_book(Settings.read()) as book:
            if client not in {it.id for it in await book.clients.all()}:
                raise NotFound(unknown_client(client))
            await book.stories.put_niche(client, niche, target)

    run(work())
    say(f"{client}/{niche}: {target} stories a day.")
