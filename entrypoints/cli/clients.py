"""`muster clients`: import, list, set."""

from pathlib import Path
from typing import Annotated, Final

import typer

from entrypoints.cli.speech import pick, run, say, say_json, say_table
from muster.errors import BadInput, NotFound
from muster.imports import read_change, read_clients
from muster.ledger.clients import unknown_client
from muster.report import counted
from muster.settings import Settings
from muster.wiring import open_book

# What a person looks for, under the words that fit 80 columns; `--json` has every column under its own name.
COLUMNS: Final = ("id", "name", "state", "service_level", "weight", "posts_target", "profiles")
HEAD: Final = ("client", "name", "state", "level", "weight", "posts target", "profiles")

app = typer.Typer(help="The clients whose work is done.", no_args_is_help=True)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV whose first line names the columns; only `id` is required.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Create clients, or change the given columns of those that are there.

    Columns: id, name, state, service_level, weight, batch_size, max_batches, posts_target, max_posts_per_profile,
    profiles_limit, brand and competitors (for prompts: names in several forms, `Acme Corp|Acme`; several competitors,
    `Beta Inc|Beta; Gamma`). All lines are taken or none; a blank cell leaves a column as it is.

    \b
    id,name,service_level,posts_target
    acme,Acme Ltd,2-Lead Scoring,50
    """  # noqa: D301, click's own sign for "do not wrap"

    async def work() -> int:
        async with open_book(Settings.read()) as book:
            return await book.clients.put(read_clients(file))

    imported = run(work())
    say_json({"imported": imported}) if as_json else say(f"{counted(imported, 'client')} imported.")


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Show every client and how many profiles it has; its other limits are in --json."""

    async def work() -> list[dict[str, object]]:
        async with open_book(Settings.read()) as book:
            counts = await book.profiles.counts()
            return [{**it.model_dump(), "profiles": counts.get(it.id, 0)} for it in await book.clients.all()]

    rows = run(work())
    if as_json:
        say_json({"clients": rows})
    elif rows:
        say_table(HEAD, [pick(row, *COLUMNS) for row in rows])
    else:
        say("No clients yet; `muster clients import FILE.csv` brings them.")


@app.command("set")
def set_(
    client: Annotated[str, typer.Argument(help="The client's id.")],
    changes: Annotated[list[str], typer.Argument(help="COLUMN=VALUE, such as state=paused posts_target=50.")],
) -> None:
    """Change columns of one client; batches that are open keep their limits.

    \b
    muster clients set acme state=paused
    muster clients set acme service_level=2 posts_target=50
    muster clients set acme posts_target=
    """  # noqa: D301, click's own sign for "do not wrap"
    wanted = {}
    for change in changes:
        column, sign, value = change.partition("=")
        if not sign:
            raise BadInput(f"{change!r} is not COLUMN=VALUE; try state=paused.")
        wanted.update(read_change(column.strip(), value.strip()))

    async def work() -> None:
        async with open_book(Settings.read()) as book:
            if client not in {it.id for it in await book.clients.all()}:
                raise NotFound(unknown_client(client))
            await book.clients.change(client, wanted)

    run(work())
    said = (f"{name} is {'not set' if value is None else value}" for name, value in wanted.items())
    say(f"{client}: {', '.join(said)}.")
