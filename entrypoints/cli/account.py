"""What a command says when a run has ended: every client and every item accounted for."""

from collections.abc import Sequence
from typing import Any, Final

from entrypoints.cli.speech import pick, say, say_table
from muster.ledger import Book
from muster.report import counted, outcome_of, run_line
from muster.states import RunState

Account = dict[str, Any]

COLUMNS: Final = ("id", "client_id", "workload", "state", "total")
HEAD: Final = ("batch", "client", "workload", "state", "items", "outcome")


async def account_of(book: Book, run_id: int) -> tuple[Account, list[Any]]:
    """A run as scripts read it, and its batches."""
    run, decisions = await book.runs.get(run_id), await book.runs.decisions(run_id)
    batches = list(await book.readings.batches_of_run(run_id))
    return run_line(run, decisions, batches), batches


def say_account(account: Account, batches: list[Any]) -> None:
    """The report of a run for people."""
    items, remaining = sum(it["total"] for it in batches), sum(it["remaining"] for it in batches)
    included = sum(it["included"] for it in account["clients"])
    say(f"Run {account['run']} is {account['state']}, {account['mode']} mode.")
    took_part = f"{included} of {counted(len(account['clients']), 'client')} took part"
    say(f"{took_part}; {counted(items, 'item')}, {remaining} of them open." if items else f"{took_part}.")
    if not items:
        say_nothing_to_do(len(account["clients"]))
    if batches:
        say("")
        say_table(HEAD, [[*pick(it, *COLUMNS), outcome_of(it)] for it in batches])
    say_left_out([pick(it, "id", "reason") for it in account["clients"] if it["reason"]])
    for it in batches:
        if it["reason"]:
            say(f"\nBatch {it['id']} ({it['client_id']}, {it['workload']}): {it['reason']}")


def say_left_out(reasons: Sequence[Sequence[Any]]) -> None:
    """The clients that take no part, or not in everything, and why."""
    if reasons:
        say_table(("client", "reason"), reasons, "\nLeft out")


def say_nothing_to_do(clients: int) -> None:
    """That nothing was to be done, and what would change that."""
    if clients:
        say("Nothing to do: no client that takes part has a profile that is due.")
    else:
        say("Nothing to do: there are no clients yet; `muster clients import FILE.csv` brings them.")


def exit_code_of(account: Account) -> int:
    """0 when the run is done and every item is closed, else 1."""
    closed = account["state"] == RunState.DONE and not any(it["remaining"] for it in account["batches"])
    return 0 if closed else 1
