"""`muster tokens create`, `list` and `revoke`: who may ask the HTTP API."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from entrypoints.cli.batches import Json
from entrypoints.cli.speech import note, pick, run, say, say_json, say_table
from muster import tokens
from muster.errors import BadInput, NotFound
from muster.ledger.columns import MOST_ID
from muster.settings import Settings
from muster.wiring import open_book

MOST_LETTERS: Final = 100
COLUMNS: Final = ("id", "name", "client_id", "created_at", "last_used_at", "revoked_at")

app: Final = typer.Typer(no_args_is_help=True, help="Who may ask the HTTP API: a client for itself, or for all.")


@app.command()
def create(
    client: Annotated[str | None, typer.Option(metavar="ID", help="The only client that it sees.")] = None,
    for_all: Annotated[bool, typer.Option("--all", help="It sees all clients, and may start the night.")] = False,
    name: Annotated[str, typer.Option(help="What it is for, to know it again.")] = "",
) -> None:
    """Make a token and print it once; the ledger keeps only its hash.

    \b
    muster tokens create --client acme --name dashboard
    muster tokens create --all
    """  # noqa: D301, click's own sign for "do not wrap"
    if (client is None) != for_all:
        raise BadInput("Say whom the token is for: --client ID, or --all.")
    if len(name) > MOST_LETTERS or not (name or "-").isprintable():
        raise BadInput(f"--name must be at most {MOST_LETTERS} printable letters.")

    async def work() -> tuple[int, str]:
        async with open_book(Settings.read()) as book:
            return await tokens.make(book, name or (client or "all clients"), client)

    token_id, token = run(work())
    say(token)
    note(f"Keep it now: it cannot be read again. `muster tokens revoke {token_id}` ends it.")


@app.command("list")
def list_tokens(as_json: Json = False) -> None:
    """List the tokens: whom each is for, when it was last used, whether it is revoked.

    \b
    muster tokens list
    muster tokens list --json
    """  # noqa: D301, click's own sign for "do not wrap"

    async def work() -> Sequence[Mapping[str, Any]]:
        async with open_book(Settings.read()) as book:
            return await book.tokens.all()

    rows = run(work())
    if as_json:
        say_json({"tokens": [{column: row[column] for column in COLUMNS} for row in rows]})
    elif rows:
        head = ("token", "name", "client", "made", "last used", "revoked")
        say_table(head, [pick({**row, "client_id": row["client_id"] or "all"}, *COLUMNS) for row in rows])
    else:
        say("There are no tokens: `muster serve` answers only this machine.")


@app.command()
def revoke(token: Annotated[int, typer.Argument(help="Its number, as `muster tokens list` shows it.")]) -> None:
    """Let a token open nothing from now on.

    \b
    muster tokens revoke 3
    """  # noqa: D301, click's own sign for "do not wrap"
    if not 0 < token <= MOST_ID:
        raise NotFound(f"There is no token {token}; `muster tokens list` shows them.")

    async def work() -> None:
        async with open_book(Settings.read()) as book:
            await book.tokens.revoke(token)

    run(work())
    say(f"Token {token} is revoked.")
