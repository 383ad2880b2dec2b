"""`muster db`: upgrade."""

import typer

from entrypoints.cli.speech import run, say
from muster.ledger import Book
from muster.settings import Settings

app = typer.Typer(help="The ledger's database.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `upgrade` a command of its own, also while it is the only one."""


@app.command()
def upgrade() -> None:
    """Bring the ledger's schema to this version's; does nothing when it is there."""

    async def work() -> str:
        async with Book(Settings.read().ledger_url) as book:
            await book.database.probe()
            return f"{book.database.place} is at revision {await book.upgrade()}."

    say(run(work()))
