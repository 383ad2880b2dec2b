"""`muster secret`: rotate."""

import typer

from entrypoints.cli.speech import note, run, say
from muster.cron import rotate
from muster.settings import Settings
from muster.wiring import open_book

app = typer.Typer(help="The cron secret, with which a run may be started from outside.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `rotate` a command of its own, also while it is the only one."""


@app.command("rotate")
def rotate_() -> None:
    """Make a new cron secret and print it once; the one before stays valid until the next rotation.

    A scheduler elsewhere starts the night with it, at a `muster serve`. The ledger keeps only its hash. CRON_SECRET and
    CRON_SECRET_PREVIOUS in the environment are valid as well.

    \b
    muster secret rotate
    curl -X POST -H "X-Cron-Secret: $SECRET" http://127.0.0.1:8080/runs
    """  # noqa: D301, click's own sign for "do not wrap"

    async def work() -> str:
        async with open_book(Settings.read()) as book:
            return await rotate(book)

    say(run(work()))
    note("Keep it now: it cannot be read again. The one before stays valid until the next rotation.")
