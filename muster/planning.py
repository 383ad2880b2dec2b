"""Opening a run: decide on every client, then open the included ones' batches; the same key opens nothing twice."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from muster.errors import BadInput, ConfigurationError, NotFound, WrongState
from muster.ledger import Book
from muster.ledger.clients import unknown_client
from muster.ledger.database import Row
from muster.ledger.opening import NewBatch
from muster.ledger.runs import NIGHTLY, NewRun
from muster.ledger.tables import USUAL_PRIORITY, Client
from muster.limits import Limits, Mode, limits_for, selection_for
from muster.selection import Decision, decide
from muster.settings import Settings, variable
from muster.states import BatchState
from muster.workload import Narrows, Workload
from muster.workloads import SHELF, workload_named

NARROWS: Final = {"ids": "profiles", "niche": "a niche"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is asked for; no clients means all of them."""

    key: str
    trigger: str
    mode: Mode
    workloads: tuple[str, ...]
    clients: tuple[str, ...] = ()
    forced: bool = False
    started_by: str | None = None
    priority: int = USUAL_PRIORITY
    only: Mapping[str, Any] = field(default_factory=dict)  # of a client's work, as its workload understands it
    held: bool = False  # nobody begins its batches before they are started

    @property
    def request(self) -> dict[str, Any]:
        """What is kept with the run, and tells two runs of the same making."""
        unusual: dict[str, Any] = {} if self.priority == USUAL_PRIORITY else {"priority": self.priority}
        unusual |= {"only": dict(self.only)} if self.only else {}
        unusual |= {"held": True} if self.held else {}
        return {"workloads": list(self.workloads), "clients": list(self.clients), **unusual}


def nightly_key(now: datetime, settings: Settings, mode: Mode) -> str:
    """The run key of a local day, such as `nightly:2026-11-22`: one for each day, however long it is."""
    return f"{NIGHTLY}:{now.astimezone(settings.zone).date().isoformat()}{mode.suffix}"


def moment_key(prefix: str, now: datetime) -> str:
    """The run key of a moment, for runs that are started by hand."""
    return f"{prefix}:{now:%Y-%m-%dT%H:%M:%S.%f}"


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Workloads, each once, in the order in which a client's are worked."""
    for name in names:
        if name not in SHELF:
            raise NotFound(f"There is no workload {name!r}; there are {', '.join(SHELF)}.")
    return tuple(name for name in SHELF if name in names)


def check_keys(settings: Settings, workloads: Sequence[str]) -> None:
    """Refuse to begin what no item can end.

    Raises:
        ConfigurationError: a key that one of the workloads needs is not set.
    """
    missing = {variable(need): name for name in workloads for need in SHELF[name].needs if not getattr(settings, need)}
    if missing:
        named = " and ".join(f"{key} (for {name})" for key, name in missing.items())
        raise ConfigurationError(f"Not set: {named}. Set it in the environment and run again.")


async def open_run(book: Book, settings: Settings, wanted: Wanted) -> int:
    """Open the run and all its batches, or find them; batches that had failed are queued again. The run's id.

    Raises:
        NotFound: a client or workload that is not there; nothing was opened.
        WrongState: the key's run is of another mode.
    """
    run_id = await begin_run(book, settings, wanted)
    await open_batches(book, settings, run_id)
    return run_id


async def begin_run(book: Book, settings: Settings, wanted: Wanted) -> int:
    """Open the run with its decision on every client, or find it; `open_batches` comes next. The run's id.

    Raises:
        NotFound: a client or workload that is not there; nothing was opened.
        WrongState: the key's run is of another mode.
    """
    decisions = await _decisions(book, settings, wanted)
    new_run = NewRun(wanted.key, wanted.trigger, wanted.mode, wanted.request, wanted.forced, wanted.started_by)
    run_id, is_new = await book.runs.open(new_run, decisions)
    if not is_new:
        found = await book.runs.get(run_id)
        if found["mode"] != wanted.mode:
            raise WrongState(f"Run {found['key']} is there in {found['mode']} mode; give another key.")
        await resume_run(book, run_id)
    return run_id


async def open_held(book: Book, settings: Settings, wanted: Wanted) -> int:
    """Open the batch of one client and one workload that nobody begins until it is started; its id.

    Raises:
        NotFound: no such client or workload.
        BadInput: profiles or a niche are named, and the workload knows no such thing.
        WrongState: the client has nothing to do of that kind, or takes no part.
    """
    (client,), (name,) = wanted.clients, wanted.workloads
    if name in SHELF and (strange := sorted(wanted.only.keys() - SHELF[name].narrowed_by)):
        meant = " and ".join(NARROWS.get(it, it) for it in strange)
        raise BadInput(f"A batch of {name} cannot be narrowed to {meant}; leave that out.")
    (decision,) = await _decisions(book, settings, wanted)
    if not decision.included:
        raise WrongState(f"There is nothing to do for client {client!r}: {decision.reason}.")
    run_id = await open_run(book, settings, replace(wanted, held=True))
    (batch,) = await book.readings.batches_of_run(run_id)
    return int(batch["id"])


async def foresee(book: Book, settings: Settings, wanted: Wanted) -> tuple[list[Decision], dict[tuple[str, str], int]]:
    """What a run would decide, and how many items each of its batches would have; nothing is written or called."""
    decisions, counts = await _decisions(book, settings, wanted), {}
    everyone = {client.id: client for client in await book.clients.all()}
    for decision in decisions:
        client = everyone[decision.client_id]
        for name in decision.workloads:
            workload = workload_named(name, settings)
            limits = await _limits(book, settings, client, wanted.mode, workload, wanted.only)
            most = workload.terms(limits).items
            planned = sum([1 async for _ in workload.plan(book, client, limits, wanted.only)])
            counts[client.id, name] = planned if most is None else min(planned, most)
    return decisions, counts


async def open_batches(book: Book, settings: Settings, run_id: int) -> None:
    """Open every batch that the run decided on and that is not there yet."""
    run = await book.runs.get(run_id)
    for decision in await book.runs.decisions(run_id):
        for name in decision.workloads:
            await open_batch(book, settings, run, decision.client_id, name)
    await book.runs.planned(run_id)


async def open_batch(
    book: Book, settings: Settings, run: Row, client_id: str, name: str, frozen: Row | None = None
) -> None:
    """Open a client's batch of a workload, or find it; one that was there before opens as it was `frozen`, or not.

    Raises:
        WrongState: what is planned now is not what was planned then.
    """
    (client,) = [it for it in await book.clients.all() if it.id == client_id]
    workload, only = workload_named(name, settings), run["request"].get("only", {})
    limits = await _limits(book, settings, client, Mode(run["mode"]), workload, only)
    key = f"{run['key']}/{client.id}/{name}"
    priority, held = run["request"].get("priority", USUAL_PRIORITY), run["request"].get("held", False)
    new = NewBatch(run["id"], client.id, name, key, limits, workload.terms(limits), only, priority, held, frozen)
    await book.batches.open(new, partial(workload.plan, book, client, limits, only))


async def resume_run(book: Book, run_id: int) -> None:
    """Queue the failed batches of a run again; what was called no more may have been mended."""
    for batch in await book.readings.batches_of_run(run_id):
        is_stopped = batch["state"] == BatchState.QUEUED and batch["stopped"]
        if batch["state"] == BatchState.FAILED or is_stopped:
            await book.orders.resume(batch["id"])


async def _decisions(book: Book, settings: Settings, wanted: Wanted) -> list[Decision]:
    everyone = {client.id: client for client in await book.clients.all()}
    for name in wanted.clients:
        if name not in everyone:
            raise NotFound(unknown_client(name))
    clients = [everyone[name] for name in wanted.clients] or list(everyone.values())
    workloads = {it.name: it for it in await _workloads(book, settings, wanted)}
    selection = selection_for(settings, wanted.mode)
    barred = {
        (client.id, name): why
        for client in clients
        for name, workload in workloads.items()
        if client.state in selection.states and (why := await _bar(book, settings, client, wanted, workload))
    }
    return decide(clients, tuple(workloads), selection, barred)


async def _workloads(book: Book, settings: Settings, wanted: Wanted) -> list[Workload]:
    """What is asked for; of several workloads, those that are set up, so that no night speaks of one nobody uses."""
    found = [workload_named(name, settings) for name in in_order(wanted.workloads)]
    is_alone = len(found) == 1
    return [it for it in found if is_alone or not isinstance(it, Narrows) or await it.is_set_up(book)]


async def _limits(
    book: Book, settings: Settings, client: Client, mode: Mode, workload: Workload, only: Mapping[str, Any]
) -> Limits:
    """What a client's batch of a workload may do."""
    limits = limits_for(settings, client, mode, workload.name)
    return await workload.narrow(book, client, limits, only) if isinstance(workload, Narrows) else limits


async def _bar(book: Book, settings: Settings, client: Client, wanted: Wanted, workload: Workload) -> str | None:
    """Why a client has no batch of a workload: its limits forbid it, or there is nothing to do."""
    limits = await _limits(book, settings, client, wanted.mode, workload, wanted.only)
    if why := workload.bar(limits):
        return why
    async with aclosing(workload.plan(book, client, limits, wanted.only)) as items:
        return None if await anext(items, None) else workload.nothing
