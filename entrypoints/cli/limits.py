"""`muster limits list` and `set`: what each upstream may be asked, over all processes and workloads."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from entrypoints.cli.batches import MOST_DIGITS, Json
from entrypoints.cli.speech import run, say, say_json, say_table
from muster.errors import BadInput
from muster.ledger import Book
from muster.ledger.upstreams import LIMITS
from muster.report import breaker_line
from muster.settings import Settings
from muster.wiring import open_book

MOST: Final = 10**9
HEAD: Final = ("upstream", "in flight", "of", "a minute", "tokens a minute", "lanes", "in line", "breaker")
SHOWN: Final = ("name", *LIMITS, "in_flight", "lanes", "in_line", "breaker", "open_until", "held_until", "error")

app: Final = typer.Typer(no_args_is_help=True, help="What each upstream may be asked, over all processes.")
Limit = Annotated[str | None, typer.Option(metavar="N|none", help="`none` lifts the limit.")]


@app.command("list")
def list_limits(as_json: Json = False) -> None:
    """List the upstreams with their limits, the calls in flight, and what holds them up.

    \b
    muster limits list
    muster limits list --json
    """  # noqa: D301, click's own sign for "do not wrap"

    async def work(book: Book) -> list[dict[str, Any]]:
        return await book.upstreams.all()

    rows = run(_in_book(work))
    if as_json:
        say_json({"upstreams": [{name: row[name] for name in SHOWN} for row in rows]})
        return
    say_table(HEAD, [_line(row) for row in rows])


@app.command("set")
def set_limits(
    upstream: Annotated[str, typer.Argument(help="Its name, as `muster limits list` shows it.")],
    concurrency: Limit = None,
    per_minute: Limit = None,
    tokens_per_minute: Limit = None,
) -> None:
    """Change limits of an upstream; running batches keep to them from the next beat on (1.5 seconds).

    \b
    muster limits set openai --concurrency 20 --per-minute 600
    muster limits set openai --tokens-per-minute none
    """  # noqa: D301, click's own sign for "do not wrap"
    said = {"concurrency": concurrency, "per_minute": per_minute, "tokens_per_minute": tokens_per_minute}
    limits = {name: _limit(name, text) for name, text in said.items() if text is not None}
    if not limits:
        raise BadInput(f"Say which limit: {', '.join(_option(it) for it in LIMITS)}.")

    async def work(book: Book) -> Mapping[str, Any]:
        return await book.upstreams.set(upstream, limits)

    row = run(_in_book(work))
    now = ", ".join(f"{it.replace('_', ' ')} {'none' if row[it] is None else format(row[it], 'g')}" for it in LIMITS)
    say(f"{upstream}: {now}.")


async def _in_book(work: Any) -> Any:
    async with open_book(Settings.read()) as book:
        return await work(book)


def _line(row: Mapping[str, Any]) -> tuple[Any, ...]:
    limits = ["-" if row[name] is None else f"{row[name]:g}" for name in LIMITS]
    return row["name"], row["in_flight"], *limits, row["lanes"], row["in_line"], breaker_line(row)


def _limit(name: str, text: str) -> float | None:
    """A limit as it was typed.

    Raises:
        BadInput: it is none.
    """
    if text.strip().lower() == "none":
        return None
    if len(text) > MOST_DIGITS or not text.strip().isdecimal() or not 0 < int(text) <= MOST:
        raise BadInput(f"{_option(name)} {text[:60]!r} must be a whole number from 1 to {MOST}, or `none`.")
    return int(text)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
