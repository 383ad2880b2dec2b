"""What is seen of articles: the keywords as they are worked, the summary at the end, the plan, the CSV."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Final

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from entrypoints.cli.export import safe
from entrypoints.cli.speech import err, note, plain, say, say_table
from muster import signals
from muster.commissions import keyword_line, way_on
from muster.drafts import put_aside
from muster.errors import BadInput
from muster.ledger import Book
from muster.ledger.database import Row
from muster.report import counted, dollars, percent
from muster.states import ItemState

LOOK_S: Final = 0.5
MOST_SHOWN: Final = 12  # keywords in flight
COLUMNS: Final = ("keyword", "state", "folder", "words", "sources", "cost_micros", "tries", "error_kind", "error")
HEAD: Final = ("keyword", "state", "folder", "words", "sources", "cost", "error")


@dataclass
class Look:
    """A batch as it was seen at a moment, and what has changed since the look before."""

    batch: Row
    running: Sequence[str]
    closed: Sequence[Row]
    elapsed_s: float
    left_s: float | None

    @property
    def line(self) -> str:
        """How far it is, how long that took, how long the rest may take, what it cost so far."""
        it = self.batch
        left = "" if self.left_s is None else f", about {timedelta(seconds=round(self.left_s))} left"
        done = f"{it['total'] - it['remaining']}/{it['total']} {int(percent(it))}%"
        return f"{done}, {timedelta(seconds=int(self.elapsed_s))} elapsed{left}, {dollars(it['cost_micros'])} so far"


@dataclass
class Watch:
    """Looks at a batch, again and again."""

    book: Book
    batch_id: int
    began: float = field(default_factory=monotonic)
    done_before: int | None = None
    seen: set[int] = field(default_factory=set)
    since: datetime | None = None

    async def look(self) -> Look:
        """What the ledger says now."""
        batch = await self.book.readings.batch(self.batch_id)
        if self.since is None:  # what was closed before is not told again
            self.since = await self.book.readings.now()
            self.done_before = batch["total"] - batch["remaining"]
        closed = [it for it in await self.book.readings.closed(self.batch_id, self.since) if it["id"] not in self.seen]
        self.seen.update(it["id"] for it in closed)
        self.since = max([self.since, *(it["closed_at"] for it in closed)])
        return Look(batch, await self.book.readings.running(self.batch_id), closed, self._elapsed(), self._left(batch))

    def _elapsed(self) -> float:
        return monotonic() - self.began

    def _left(self, batch: Row) -> float | None:
        done = batch["total"] - batch["remaining"] - (self.done_before or 0)
        return batch["remaining"] * self._elapsed() / done if done > 0 and batch["remaining"] else None


@asynccontextmanager
async def following(book: Book, batch_id: int, *, show: bool) -> AsyncIterator[None]:
    """Show the batch's keywords while they are worked, and say at once what Ctrl+C does."""
    watch = Watch(book, batch_id)
    tasks = [asyncio.create_task(_say_stop(book, batch_id))]
    if show:
        tasks.append(asyncio.create_task(_redraw(watch) if err.is_terminal else _lines(watch)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):  # whoever cannot see the work must not end it
                await task
        if show and not err.is_terminal:
            with suppress(Exception):
                _say_closed(await watch.look())


async def _say_stop(book: Book, batch_id: int) -> None:
    while not signals.stopping():  # noqa: ASYNC110, a signal sets no event
        await asyncio.sleep(0.1)
    batch = await book.readings.batch(batch_id)
    note(f"Stopping: what is in flight is finished; Ctrl+C again ends at once. {way_on(batch)}")


async def _redraw(watch: Watch) -> None:
    with Live(console=err, transient=True, auto_refresh=False) as live:
        try:
            while True:
                look = await watch.look()
                live.update(_picture(look))
                for line in map(_closed_line, look.closed):
                    live.console.print(line, markup=False, emoji=False, style="dim")
                live.refresh()
                await asyncio.sleep(LOOK_S)
        finally:
            live.update("", refresh=True)


def _picture(look: Look) -> Group:
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(look.batch["total"], look.batch["total"] - look.batch["remaining"], width=30), look.line)
    more = len(look.running) - MOST_SHOWN
    lines = [f"▶ {plain(it)}" for it in look.running[:MOST_SHOWN]] + ([f"  and {more} more"] if more > 0 else [])
    return Group(bar, *(Text(it, overflow="ellipsis", no_wrap=True) for it in lines))


async def _lines(watch: Watch) -> None:
    begun: set[str] = set()
    while True:
        look = await watch.look()
        for keyword in look.running:
            if keyword not in begun:
                note(f"▶ {keyword}")
        begun = set(look.running)
        _say_closed(look)
        await asyncio.sleep(LOOK_S)


def _say_closed(look: Look) -> None:
    for item in look.closed:
        note(_closed_line(item))
    if look.closed:
        note(f"  {look.line}")


def _closed_line(item: Row) -> str:
    it = keyword_line(item)
    if it["state"] != ItemState.SUCCEEDED:
        return plain(f"✖ {it['keyword']}: {it['error']}")
    words = "" if it["words"] is None else f"{counted(it['words'], 'word')}, "
    return plain(f"✔ {it['keyword']} → {it['folder']} ({words}{counted(it['sources'], 'source')}, {_money(it)})")


def say_articles(summary: Mapping[str, Any]) -> None:
    """How it ended, keyword by keyword."""
    what = "researched" if summary["dry_run"] else "written"
    ends = f"{summary['succeeded']} of {summary['total']} {what}"
    more = [f"{summary[name]} {name}" for name in ("failed", "skipped", "cancelled") if summary[name]]
    more += [f"{summary['remaining']} open"] if summary["remaining"] else []
    say(f"Batch {summary['batch']} is {summary['state'].replace('_', ' ')}: {', '.join([ends, *more])}.")
    say(f"Cost {dollars(summary['cost_micros'])}; in {summary['output_dir']}")
    if summary["reason"] and summary["remaining"]:
        say(f"Reason: {summary['reason']}")
    say("")
    say_table(HEAD, [list(_row(it)) for it in summary["keywords"]])
    say(f"\nManifest: {summary['manifest']}") if summary["manifest"] else None
    if summary["resume"] and not signals.stopping():
        say(str(summary["resume"]))


def _row(it: Mapping[str, Any]) -> Iterator[Any]:
    yield from (it[name] for name in ("keyword", "state", "folder", "words", "sources"))
    yield _money(it) if it["state"] == ItemState.SUCCEEDED or it["cost_micros"] else ""
    yield it["error"]


def _money(it: Mapping[str, Any]) -> str:
    return "cost unknown" if it["cost_micros"] is None else dollars(it["cost_micros"])


def say_plan(plan: Mapping[str, Any]) -> None:
    """What would be done, about; nothing was opened or called."""
    calls = " and ".join(f"{n} to {name}" for name, n in plan["calls"].items() if n)
    say(f"{counted(plan['items'], 'keyword')}, {plan['parallel']} at once, into {plan['output_dir']}")
    say(f"Calls: {calls}; about {plan['input_tokens']:,} tokens in and {plan['output_tokens']:,} out.")
    say(f"Cost: about {dollars(plan['cost_micros'])}. Time: about {timedelta(seconds=plan['seconds'])}.")
    say("Nothing was opened or called.\n")
    say_table(("keyword",), [(it,) for it in plan["keywords"]])


def write_csv(path: Path, summary: Mapping[str, Any]) -> None:
    """The results as CSV; no cell of it is read as a formula.

    Raises:
        BadInput: it cannot be written; the articles are kept all the same.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(COLUMNS)
    table.writerows([safe(it[name]) for name in COLUMNS] for it in summary["keywords"])
    try:
        put_aside(path.absolute().parent, path.name, text.getvalue().encode())
    except OSError as wrong:
        raise BadInput(f"{path}: {(wrong.strerror or 'cannot be written').lower()}; the articles are kept.") from None
