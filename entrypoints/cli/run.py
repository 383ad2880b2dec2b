"""`muster run`: work by hand, in this process or, where a Prefect API is set, as the flow."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from entrypoints.cli.account import account_of, exit_code_of, say_account, say_left_out, say_nothing_to_do
from entrypoints.cli.live import watching
from entrypoints.cli.prefect import quiet_prefect, reach_prefect
from entrypoints.cli.speech import note, say, say_json, say_table
from entrypoints.cli.speech import run as run_async
from muster import signals
from muster.errors import BadInput, Interrupted, NotFound
from muster.ledger import Book
from muster.ledger.clients import unknown_client
from muster.ledger.tables import PRIORITIES, USUAL_PRIORITY
from muster.limits import Mode, mode_for
from muster.planning import Wanted, check_keys, foresee, in_order, moment_key, open_run
from muster.report import counted
from muster.running import work_run
from muster.settings import Settings
from muster.wiring import open_book
from muster.workloads.articles import Articles

OfNiche = Annotated[str | None, typer.Option(help="stories: only this niche of the client, up to its target.")]
OfProfiles = Annotated[str | None, typer.Option(help="stories: only these handles of the client, parted by commas.")]
Testing = Annotated[bool | None, typer.Option("--testing/--normal", help="The mode; left out, the environment says.")]
Priority = Annotated[int, typer.Option(help="1 is begun first, 5 last; an hour of waiting counts as one level.")]
Plan = Annotated[bool, typer.Option(help="Only say what would be done: nothing is opened, nothing is called.")]


def run(
    workloads: Annotated[list[str], typer.Argument(help="What is done: profiles, posts, prompts, stories.")],
    client: Annotated[list[str] | None, typer.Option(help="Only this client; may be given again.")] = None,
    niche: OfNiche = None,
    profiles: OfProfiles = None,
    testing: Testing = None,
    priority: Priority = USUAL_PRIORITY,
    plan: Plan = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object at the end.")] = False,
) -> None:
    """Work the clients' batches now; a run that was interrupted goes on where it stopped.

    \b
    muster run profiles posts --testing
    muster run posts --client acme --json
    muster run profiles --plan
    muster run stories --client acme --niche travel
    """  # noqa: D301, click's own sign for "do not wrap"
    if priority not in PRIORITIES:
        raise BadInput(f"--priority {priority} must be between {min(PRIORITIES)}, begun first, and {max(PRIORITIES)}.")
    if Articles.name in workloads:
        raise BadInput("Articles are written about keywords: muster articles KEYWORD...")
    settings = Settings.read()
    mode = mode_for(settings, None if testing is None else Mode.TESTING if testing else Mode.NORMAL)
    clients = tuple(dict.fromkeys(client or ()))
    names, only = in_order(workloads), _only(clients, workloads, niche, profiles)
    wanted = Wanted("", "manual", mode, names, clients, priority=priority, only=only)
    if plan:
        run_async(_foresee(settings, wanted, as_json))
        return
    account, batches = run_async(_work(settings, wanted))
    say_json(account) if as_json else say_account(account, batches)
    if signals.stopping():
        raise Interrupted(f"Interrupted; everything finished is kept. To go on: {_again(wanted)}")
    raise typer.Exit(exit_code_of(account))


def _again(wanted: Wanted) -> str:
    """The command that goes on with the same run, wherever the environment says another mode."""
    clients = [part for client in wanted.clients for part in ("--client", client)]
    priority = [] if wanted.priority == USUAL_PRIORITY else ["--priority", str(wanted.priority)]
    only = [part for name, it in wanted.only.items() for part in (f"--{name}", it if name == "niche" else ",".join(it))]
    return shlex.join(["muster", "run", *wanted.workloads, *clients, *only, f"--{wanted.mode}", *priority])


def _only(clients: Sequence[str], workloads: Sequence[str], niche: str | None, profiles: str | None) -> dict[str, Any]:
    """What of the one client's stories is meant."""
    handles = [it.strip() for it in (profiles or "").split(",") if it.strip()]
    only: dict[str, Any] = ({"niche": niche} if niche else {}) | ({"profiles": handles} if handles else {})
    if only and (len(clients) != 1 or list(workloads) != ["stories"]):
        raise BadInput("--niche and --profiles go with the workload stories and one --client.")
    return only


async def _work(settings: Settings, wanted: Wanted) -> tuple[dict[str, Any], list[Any]]:
    with signals.watched():
        async with open_book(settings) as book:
            await _check(book, settings, wanted)
            run_id = await _open(book, settings, wanted)
            key = (await book.runs.get(run_id))["key"]
            async with watching(book, key):
                if settings.prefect_api_url:
                    await _as_flow(key, wanted)
                else:
                    for name, why in (await work_run(book, settings, run_id)).items():
                        note(f"{name}: {why}")
            return await account_of(book, run_id)


async def _check(book: Book, settings: Settings, wanted: Wanted) -> None:
    """Refuse before anything is opened: what was typed wrongly first, then what the environment lacks."""
    known = {client.id for client in await book.clients.all()}
    for client in wanted.clients:
        if client not in known:
            raise NotFound(unknown_client(client))
    check_keys(settings, wanted.workloads)
    if settings.prefect_api_url:
        await reach_prefect(settings)


async def _open(book: Book, settings: Settings, wanted: Wanted) -> int:
    """The run to work: the unfinished one of the same making, else a new one."""
    found = await book.runs.unfinished(wanted.trigger, wanted.mode, wanted.request)
    if found is not None:
        key = (await book.runs.get(found))["key"]
        note(f"Going on with run {key}.")
    else:
        key = moment_key("run", await book.readings.now())
    return await open_run(book, settings, replace(wanted, key=key))


async def _as_flow(key: str, wanted: Wanted) -> None:
    """Work it as the flow `nightly`, so that it is seen in Prefect's UI."""
    quiet_prefect()
    os.environ.update({"MUSTER_DISPATCH": "inline"})  # who waits at a terminal works it here
    from flows.nightly import nightly  # noqa: PLC0415, importing Prefect takes seconds

    await nightly(
        mode=wanted.mode, workloads=list(wanted.workloads), clients=list(wanted.clients), key=key, return_state=True
    )


async def _foresee(settings: Settings, wanted: Wanted, as_json: bool) -> None:
    async with open_book(settings) as book:
        decisions, counts = await foresee(book, settings, wanted)
    rows = [(client, name, items) for (client, name), items in counts.items()]
    if as_json:
        clients = [{"id": it.client_id, "included": it.included, "reason": it.reason} for it in decisions]
        batches = [{"client": client, "workload": name, "total": items} for client, name, items in rows]
        say_json({"mode": wanted.mode, "clients": clients, "batches": batches})
        return
    items = sum(items for _, _, items in rows)
    say(f"{wanted.mode} mode would work {counted(items, 'item')}; nothing was opened or called.")
    if not items:
        say_nothing_to_do(len(decisions))
    if rows:
        say("")
        say_table(("client", "workload", "items"), rows)
    say_left_out([(it.client_id, it.reason) for it in decisions if it.reason])
