"""`muster proxies`: the endpoint pairs of story checks: import, list, check. No credential is ever shown."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from entrypoints.cli.speech import pick, run, say, say_json, say_table
from muster.errors import WorkFailed
from muster.ledger import Book
from muster.ledger.pairs import NONE_THERE, Holder, Rules
from muster.pair_imports import read_proxies
from muster.report import counted
from muster.settings import Settings
from muster.states import ProxyState
from muster.upstreams.caller import Caller
from muster.upstreams.pair import UNUSED, Pair
from muster.upstreams.stories import Stories
from muster.wiring import open_book

COLUMNS: Final = ("id", "address", "state", "session", "requests", "failures", "uses_in_hour")
HEAD: Final = ("pair", "proxy", "state", "session", "requests", "failures", "this hour", "ms", "note")
NOBODY: Final = 0  # no item: a person looks

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]

app = typer.Typer(help="The endpoint pairs of story checks: proxies with their sessions.", no_args_is_help=True)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV whose first line names the columns; `address` is required.")],
    as_json: AsJson = False,
) -> None:
    """Bring pairs in, or give those that are there new credentials and another chance.

    Columns: address (host:port), scheme (http, https), username, password, cookie (as a browser sends it), and any
    `header:NAME`. All lines are taken or none.

    \b
    address,username,password,cookie
    10.0.0.7:8080,ann,secret,sessionid=abc; csrftoken=def
    """  # noqa: D301, click's own sign for "do not wrap"

    async def work() -> int:
        async with open_book(Settings.read()) as book:
            return await book.pairs.put(read_proxies(file))

    imported = run(work())
    say_json({"imported": imported}) if as_json else say(f"{counted(imported, 'pair')} imported.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show every pair with its health, its use and who holds it; credentials never."""

    async def work() -> list[dict[str, Any]]:
        async with open_book(Settings.read()) as book:
            return [dict(row) for row in await book.pairs.all()]

    _show(run(work()), as_json)


@app.command()
def check(as_json: AsJson = False) -> None:
    """Ask through every proxy whether it answers, those that are disabled included; sessions are not used.

    \b
    muster proxies check --json
    """  # noqa: D301, click's own sign for "do not wrap"

    async def work() -> list[dict[str, Any]]:
        settings = Settings.read()
        async with open_book(settings) as book, Caller() as caller:
            endpoint = Stories.connect(settings, caller)
            for row in await book.pairs.all():
                await _check(book, endpoint, Rules.of(settings), row["id"])
            return [dict(row) for row in await book.pairs.all()]

    rows = run(work())
    _show(rows, as_json)
    if not any(row["state"] == ProxyState.ACTIVE for row in rows):
        raise WorkFailed("No proxy answers." if rows else f"{NONE_THERE[0].upper()}{NONE_THERE[1:]}.")


async def _check(book: Book, endpoint: Stories, rules: Rules, pair_id: int) -> None:
    """Look at one pair, unless it is in use or rests: then its last use says as much."""
    holder = Holder(f"check:{socket.gethostname()}:{os.getpid()}", NOBODY)
    pair = await book.pairs.lease(holder, rules, only=pair_id)
    if isinstance(pair, Pair):
        verdict = UNUSED
        try:
            verdict = (await endpoint.verify(pair)).verdict
        finally:
            await book.pairs.release(pair.id, holder, verdict, rules)


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        say_json({"pairs": rows})
    elif rows:
        say_table(HEAD, [[*pick(row, *COLUMNS), _ms(row), _note(row)] for row in rows])
    else:
        say("No endpoint pairs yet; `muster proxies import FILE.csv` brings them.")


def _ms(row: Mapping[str, Any]) -> int | None:
    return None if row["latency_ms"] is None else round(row["latency_ms"])


def _note(row: Mapping[str, Any]) -> str:
    """What keeps it from being used, if anything does."""
    if row["reason"]:
        return str(row["reason"])
    if row["state"] == ProxyState.DISABLED:
        return f"{row['last_error']} Looked at again from {row['recheck_at']:%H:%M:%S} UTC on."
    if row["cooldown_until"]:
        return f"rests until {row['cooldown_until']:%H:%M:%S} UTC"
    return f"held for item {row['item_id']}" if row["holder"] else ""
