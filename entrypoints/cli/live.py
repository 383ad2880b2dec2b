"""The live view of a run: a table that redraws itself on a terminal, plain lines elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from rich.live import Live
from rich.table import Table

from entrypoints.cli.speech import err, note
from muster.ledger import Book
from muster.report import outcome_of, percent
from muster.states import CLOSED_BATCHES

LOOK_S: Final = 0.5  # on a terminal
LINE_S: Final = 5.0  # elsewhere
ICONS: Final[Mapping[str, str]] = {
    "done": "✔",
    "failed": "✖",
    "in_progress": "▶",
    "queued": "·",
    "paused": "‖",
    "cancelled": "–",
}
_URGENCY: Final = ("in_progress", "paused", "failed", "queued", "cancelled", "done")

Row = Mapping[str, Any]


@asynccontextmanager
async def watching(book: Book, run_key: str) -> AsyncIterator[None]:
    """Show the run's batches while they are worked; the run may not be open yet."""
    look = asyncio.create_task(_redraw(book, run_key) if err.is_terminal else _lines(book, run_key))
    try:
        yield
    finally:
        look.cancel()
        with suppress(asyncio.CancelledError, Exception):  # whoever cannot see the work must not end it
            await look


async def _redraw(book: Book, run_key: str) -> None:
    with Live(console=err, transient=True, auto_refresh=False) as live:
        try:
            while True:
                batches = await book.readings.batches_of_key(run_key)
                live.update(_table(batches, err.height - 4), refresh=True)
                await asyncio.sleep(LOOK_S)
        finally:
            live.update("", refresh=True)


async def _lines(book: Book, run_key: str) -> None:
    shown: dict[int, tuple[str, int]] = {}
    while True:
        for batch in await book.readings.batches_of_key(run_key):
            seen = (batch["state"], batch["remaining"])
            if batch["state"] != "queued" and shown.get(batch["id"]) != seen:
                shown[batch["id"]] = seen
                note(_line(batch))
        await asyncio.sleep(LINE_S if shown else LOOK_S)


def _line(batch: Row) -> str:
    return (
        f"{ICONS[batch['state']]} {batch['client_id']:<16} {batch['workload']:<9} {batch['state']:<11}"
        f" {int(percent(batch)):3}%  {outcome_of(batch)}"
    )


def _table(batches: Sequence[Row], room: int) -> Table:
    """What fits the terminal, the batches that are worked first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "client", "workload", "state", "%", "outcome"):
        table.add_column(name, justify="right" if name == "%" else "left", no_wrap=name != "outcome")
    for it in sorted(batches, key=lambda it: _URGENCY.index(it["state"]))[: max(room, 1)]:
        table.add_row(*_cells(it), style="dim" if it["state"] in CLOSED_BATCHES else "")
    closed = sum(it["state"] in CLOSED_BATCHES for it in batches)
    table.caption, table.caption_justify = f"{closed} of {len(batches)} batches closed", "left"
    return table


def _cells(batch: Row) -> Sequence[str]:
    share = str(int(percent(batch)))
    return ICONS[batch["state"]], batch["client_id"], batch["workload"], batch["state"], share, outcome_of(batch)
