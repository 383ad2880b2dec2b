"""`muster profiles`: import."""

from pathlib import Path
from typing import Annotated

import typer

from entrypoints.cli.speech import run, say, say_json
from muster.imports import read_profiles
from muster.report import counted
from muster.settings import Settings
from muster.wiring import open_book

app = typer.Typer(help="The clients' profiles.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `import` a command of its own, also while it is the only one."""


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="CSV whose first line names the columns; `client_id` and `handle` are required.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Create profiles, or change the address and data of those that are there; scores and posts stay.

    Columns: client_id, platform (linkedin), handle, url, name, headline, about, and any further one, kept as data. All
    lines are taken or none.

    \b
    client_id,handle,url,headline
    acme,ada,https://www.linkedin.com/in/ada,Head of Engines
    """  # noqa: D301, click's own sign for "do not wrap"

    async def work() -> int:
        async with open_book(Settings.read()) as book:
            known = {client.id for client in await book.clients.all()}
            return await book.profiles.put(read_profiles(file, known))

    imported = run(work())
    say_json({"imported": imported}) if as_json else say(f"{counted(imported, 'profile')} imported.")
