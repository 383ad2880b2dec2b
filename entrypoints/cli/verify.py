"""`muster verify`: a run's certificate held against the ledger's rows, and what is missing opened again."""

from typing import Annotated, Any, Final

import typer

from entrypoints.cli.speech import note, pick, run, say, say_json, say_table
from entrypoints.cli.watch import RunArgument, known_run
from muster import signals
from muster.certificate import ENDS, OPEN
from muster.errors import Interrupted
from muster.ledger import Book
from muster.running import work_run
from muster.settings import Settings
from muster.verifying import Verified, repair, verify
from muster.wiring import open_book

COLUMNS: Final = ("client", "expected", *ENDS, OPEN)


def verify_(
    run_: RunArgument = None,
    repair_: Annotated[
        bool, typer.Option("--repair", help="Open what is missing, and nothing else, and work it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object: the certificate and its gaps.")] = False,
) -> None:
    """Check a run's certificate against the ledger: every expected item counted anew; exit code 1 on any gap.

    \b
    muster verify
    muster verify nightly:2026-11-22 --json
    muster verify 12 --repair
    """  # noqa: D301, click's own sign for "do not wrap"
    verified, done = run(_work(Settings.read(), run_, opens=repair_))
    if as_json:
        say_json({**verified.certificate, "coverage": verified.coverage, "gaps": verified.gaps, "repaired": done})
    else:
        _say(verified, tried=repair_)
    if signals.stopping():
        raise Interrupted("Interrupted; everything finished is kept. To go on: muster verify --repair")
    raise typer.Exit(1 if verified.gaps else 0)


async def _work(settings: Settings, told: str | None, *, opens: bool) -> tuple[Verified, list[str]]:
    with signals.watched():
        async with open_book(settings) as book:
            run_id = (await known_run(book, told))["id"]
            done = await _repair(book, settings, run_id) if opens else []
            return await verify(book, run_id), done


async def _repair(book: Book, settings: Settings, run_id: int) -> list[str]:
    """Open what is missing and, unless drivers of a deployment are to do it, work it here."""
    done = await repair(book, settings, run_id)
    for line in done:
        note(line)
    if settings.dispatch == "inline":
        for client, why in (await work_run(book, settings, run_id)).items():
            note(f"{client}: {why}")
    return done


def _say(verified: Verified, *, tried: bool) -> None:
    certificate: dict[str, Any] = verified.certificate
    manifest = (certificate["manifest_hash"] or "none")[:16]
    say(f"Run {certificate['run']}, {certificate['mode']} mode, manifest {manifest}")
    if certificate["clients"]:
        rows = [[*pick(it, *COLUMNS), it["reason"]] for it in certificate["clients"]]
        say_table((*COLUMNS, "left out"), [*rows, ["all", *pick(certificate, *COLUMNS[1:]), ""]])
    causes = [
        (it["client"], why["state"], why["why"], why["items"]) for it in certificate["clients"] for why in it["causes"]
    ]
    if causes:
        say_table(("client", "state", "cause", "items"), causes, "\nWhy items did not simply succeed")
    say("")
    for gap in verified.gaps:
        say(f"GAP  {gap}")
    if verified.gaps:
        way = "What is left cannot be opened again." if tried else "To open what is missing: muster verify --repair"
        say(f"Not verified. {way}")
    else:
        say("Verified: every expected item is there, with one recorded end.")
