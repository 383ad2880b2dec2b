"""What a command says when a run has ended: every client and every item accounted for."""

from typing import Any, Final

from entrypoints.cli.speech import pick, say, say_table
from muster.ledger import Book
from muster.report import outcome_of, run_line
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
    say(f"{included} of {len(account['clients'])} clients took part; {items} items, {remaining} of them open.\n")
    if batches:
        say_table(HEAD, [[*pick(it, *COLUMNS), outcome_of(it)] for it in batches])
    reasons = [pick(it, "id", "reason") for it in account["clients"] if it["reason"]]
    if reasons:
        say_table(("client", "reason"), reasons, "\nLeft out")
    for it in batches:
        if it["reason"]:
            say(f"\nBatch {it['id']} ({it['client_id']}, {it['workload']}): {it['reason']}")


def exit_code_of(account: Account) -> int:
    """0 when every item is closed and none failed, else 1."""
    closed = account["state"] == RunState.DONE and not any(it["remaining"] for it in account["batches"])
    return 0 if closed else 1
