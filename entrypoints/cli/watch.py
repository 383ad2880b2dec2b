"""`muster watch`: a run as it goes on, every few seconds, and how it ended."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any, Final, Self

import typer
from rich.live import Live
from rich.text import Text

from entrypoints.cli.account import account_of
from entrypoints.cli.picture import Pace, Seen, picture, succeeded, verdict
from entrypoints.cli.speech import out, plain, say, say_json
from entrypoints.cli.speech import run as run_async
from muster import signals
from muster.errors import BadInput, Interrupted, NotFound
from muster.ledger import Book
from muster.ledger.database import Row
from muster.settings import Settings
from muster.states import OPEN_BATCHES
from muster.wiring import open_book

GO_ON: Final = "muster trigger"
Interval = Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2, max=3600)]
Timeout = Annotated[
    float,
    typer.Option(
        help="Minutes after which it stops looking; work of this process stops then, too.", min=0.01, max=14_400
    ),
]
RunArgument = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="A run's number or key; left out, the newest.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object at the end, and no picture.")]


@dataclass(frozen=True, slots=True)
class Watched:
    """How a run stood at the last look, and why nobody looked any longer, if it was not over."""

    seen: Seen
    late: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing remains."""
        return succeeded(self.seen) and self.late is None


def watch(run: RunArgument = None, interval: Interval = 10, timeout: Timeout = 60, as_json: AsJson = False) -> None:
    """Watch a run until it is over, or show how a past one ended; exit code 0 when nothing remains, else 1.

    \b
    muster watch
    muster watch nightly:2026-11-22 --interval 2
    """  # noqa: D301, click's own sign for "do not wrap"

    async def work() -> tuple[Watched, dict[str, Any]]:
        with signals.watched():
            async with open_book(Settings.read()) as book:
                found = await known_run(book, run)
                watched = await follow(book, found["id"], interval, timeout, show=not as_json)
                return watched, (await account_of(book, found["id"]))[0]

    end(*run_async(work()), as_json=as_json)


def end(watched: Watched, account: dict[str, Any], *, as_json: bool) -> None:
    """Say how it ended, and leave with the exit code that goes with it."""
    if as_json:
        say_json({**account, "success": watched.ok, "troubles": list(watched.seen.troubles)})
    else:
        say("\n".join(["", *verdict(watched.seen, watched.late)]))
        if not watched.ok and any(it["state"] in OPEN_BATCHES for it in watched.seen.batches):
            say(f"To go on with what is open: {GO_ON}")
    if signals.stopping() and not watched.late:
        raise Interrupted(f"Interrupted; everything finished is kept. To go on: {GO_ON}")
    raise typer.Exit(0 if watched.ok else 1)


async def known_run(book: Book, told: str | None) -> Row:
    """A run by its number or key; left out, the newest.

    Raises:
        NotFound: there is none.
    """
    if told is None:
        newest = await book.runs.newest()
        if newest is None:
            raise NotFound("There is no run yet; `muster trigger` starts the night's.")
        return newest
    if told.isdecimal():
        if len(told) > 18:  # noqa: PLR2004, more than a database counts to
            raise BadInput(f"There is no run {told}; `muster batches` shows each batch's run.")
        return await book.runs.get(int(told))
    return await book.runs.get(await book.runs.id_of(told))


async def follow(
    book: Book,
    run_id: int,
    interval: float,
    timeout_min: float,
    *,
    show: bool,
    working: Callable[[], bool] | None = None,
) -> Watched:
    """Look at a run until it is over, the time is, or, where it is worked here, the work has ended."""
    began, iteration, pace = monotonic(), 0, Pace()
    with _Screen(show) as screen:
        while True:
            iteration += 1
            ended = working is not None and not working()
            seen = await look(book, run_id)
            elapsed = monotonic() - began
            screen.draw(picture(seen, iteration, elapsed, pace.see(seen)))
            if seen.is_over or ended or signals.stopping():
                return Watched(seen)
            if elapsed >= 60 * timeout_min:
                return Watched(seen, f"not over after {timeout_min:g} minutes")
            await _pause(min(interval, 60 * timeout_min - elapsed), working)


async def look(book: Book, run_id: int) -> Seen:
    """What the ledger says of a run now."""
    run, batches = await book.runs.get(run_id), await book.readings.batches_of_run(run_id)
    troubles = await book.explaining.troubles([it["id"] for it in batches])
    names = {client.id: client.name for client in await book.clients.all()}
    return Seen(run, names, await book.runs.decisions(run_id), batches, troubles, await book.readings.now())


async def _pause(seconds: float, working: Callable[[], bool] | None) -> None:
    """Wait, but no longer than there is work, and not after a signal."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not signals.stopping() and (working is None or working()):  # noqa: ASYNC110, a signal sets no event
                await asyncio.sleep(0.1)


class _Screen:
    """Where pictures are drawn: in place on a terminal, one below the other elsewhere, or nowhere."""

    def __init__(self, show: bool) -> None:
        self._show = show
        self._live = Live(console=out, auto_refresh=False) if show and out.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def draw(self, lines: list[str]) -> None:
        if self._live:
            self._live.update(Text(plain("\n".join(lines))), refresh=True)
        elif self._show:
            say("\n".join(lines))
