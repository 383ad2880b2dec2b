"""`muster demo`: the main job on made-up clients against the simulator, through Prefect."""

import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from entrypoints.cli.account import account_of, exit_code_of, say_account
from entrypoints.cli.live import watching
from entrypoints.cli.prefect import own_server, process
from entrypoints.cli.speech import err, note, run, say, say_json
from entrypoints.cli.wait import until
from muster import signals
from muster.errors import BadInput, Interrupted, Unreachable
from muster.imports import read_level
from muster.ledger import Book
from muster.planning import moment_key
from muster.settings import Settings
from muster.wiring import open_book

MARK: Final = "demo"  # a ledger with this setting holds made-up clients only
LATENCY_MS: Final = 150

# id, state, service level, posts target, profiles: what the words in a handle do stands in the simulator's table.
CLIENTS: Final = (
    (
        "acme",
        "active",
        "3-Full service",
        12,
        ("ada", "grace", "linus", "margaret", "alan", "edsger", "barbara", "donald"),
    ),
    ("birch", "active", "2-Lead Scoring + Posts", 20, ("katherine", "tim", "sim-empty-joan", "radia", "vint")),
    ("cobalt", "active", "2", 4, ("hedy", "sim-many-annie", "sim-few-mary", "evelyn")),
    ("delta", "active", "2", 8, ("sim-500-charles", "sim-flaky-george", "sim-reject-kurt", "john")),
    ("ember", "active", "1-Lead Scoring", 10, ("emmy", "sofia", "maryam")),
    ("fjord", "active", "2", None, ("niels", "inge", "tycho")),
    ("gable", "inactive", "3", 10, ("rosalind", "francis")),
    ("harbor", "paused", "2", 10, ("dorothy", "max")),
)
PROMPTS: Final = {  # by client, whose brand is its name
    "acme": (
        'Which CRM is best for dentists, "Acme" or "Rival"?',
        'Is "Acme" worth its price?',
        "What sim-ungrounded CRM is new?",
    ),
    "birch": ('Who sells timber online, "Birch" or "Oak & Sons"?', "Tell me something sim-refusal about timber."),
    "delta": ('Is "Delta" a good airline for cats?',),
}
BROKEN: Final = {
    "client_id": "birch",
    "platform": "linkedin",
    "handle": "nobody",
    "url": "linkedin dot com",
    "data": {},
}


def demo(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object at the end, nothing else on standard output.")
    ] = False,
) -> None:
    """See the main job for 8 made-up clients, through a real Prefect flow: scores, posts, and answers of four models.

    Everything stays in the folder `demo` of MUSTER_HOME. The upstreams are a simulator on this machine: no key is
    needed, nothing is paid.
    """
    os.environ.update(MUSTER_HOME=str(Settings.read().home / "demo"))  # nobody's own ledger gets made-up clients
    settings = Settings.read()
    account, batches = run(_work(settings))
    if as_json:
        say_json(account)
    else:
        say_account(account, batches)
        _say_how_to_look_further(settings, batches)
    if signals.stopping():
        raise Interrupted("Interrupted; everything finished is kept.")
    raise typer.Exit(exit_code_of(account))


async def _work(settings: Settings) -> tuple[dict[str, Any], list[Any]]:
    with signals.watched():
        async with open_book(settings) as book, _simulator(settings.home) as address:
            await _make_up(book)
            os.environ.update(_upstreams_at(address))
            with err.status("Starting Prefect's server; most of the demo's time goes here …"):
                if not err.is_terminal:
                    note("Starting Prefect's server; most of the demo's time goes here …")
                async with own_server(settings.home / "prefect"):
                    return await _run_nightly(book)


async def _run_nightly(book: Book) -> tuple[dict[str, Any], list[Any]]:
    from flows.nightly import nightly  # noqa: PLC0415, Prefect must first know its server

    key = moment_key("demo", await book.readings.now())
    async with watching(book, key):
        await nightly(key=key, return_state=True)
    run_id = await book.runs.id_of(key)
    return await account_of(book, run_id)


async def _make_up(book: Book) -> None:
    """The demo's clients, as if nothing had been done for them yet.

    Raises:
        BadInput: the ledger holds clients that the demo did not make.
    """
    if await book.readings.setting(MARK) is None:
        if await book.clients.all():
            raise BadInput("This ledger holds clients of yours. Unset MUSTER_DATABASE_URL for the demo.")
        await book.put_setting(MARK, "true")
    await book.profiles.forget_all()
    columns = ("id", "state", "service_level", "posts_target")
    rows = [dict(zip(columns, client, strict=False)) for client in CLIENTS]
    await book.clients.put([_client(row) for row in rows])
    await book.prompts.put(
        [_prompt(client, at, text) for client, of in PROMPTS.items() for at, text in enumerate(of, 1)]
    )
    await book.profiles.put([*(_profile(client[0], handle) for client in CLIENTS for handle in client[4]), BROKEN])


def _client(row: dict[str, Any]) -> dict[str, Any]:
    name = str(row["id"]).title()
    about = {"name": name, "brand": [name], "competitors": [["Rival"], ["Oak & Sons"]]}
    return {**row, **about, "service_level": read_level(row["service_level"])}


def _prompt(client: str, number: int, text: str) -> dict[str, Any]:
    return {"client_id": client, "key": f"question-{number}", "text": text}


def _profile(client: str, handle: str) -> dict[str, Any]:
    name = re.sub(r"^sim-[0-9a-z]+-", "", handle).title()
    data = {"name": name, "headline": f"Head of something at {name} & Co", "about": f"{name} buys what {client} sells."}
    url = f"https://www.linkedin.com/in/{handle}"
    return {"client_id": client, "platform": "linkedin", "handle": handle, "url": url, "data": data}


@asynccontextmanager
async def _simulator(home: Path) -> AsyncIterator[str]:
    log = home / "simulator.log"
    log.unlink(missing_ok=True)
    async with process(log, "-m", "muster.simulator", "--port", "0", "--latency-ms", str(LATENCY_MS)) as child:

        def address() -> str | None:
            if child.returncode is not None:
                raise Unreachable(f"The simulator did not start; {log} says why.")
            found = re.search(r"http://\S+", log.read_text(encoding="utf-8"))
            return found.group() if found else None

        yield await until(address, seconds=30)


def _upstreams_at(address: str) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": f"{address}/v1",
        "OPENAI_API_KEY": "simulated",
        "PERPLEXITY_BASE_URL": address,
        "PERPLEXITY_API_KEY": "simulated",
        "GEMINI_BASE_URL": f"{address}/v1beta",
        "GEMINI_API_KEY": "simulated",
        "ANTHROPIC_BASE_URL": address,
        "ANTHROPIC_API_KEY": "simulated",
        "APIFY_BASE_URL": address,
        "APIFY_TOKEN": "simulated",
    }


def _say_how_to_look_further(settings: Settings, batches: list[Any]) -> None:
    worst = max(batches, key=lambda it: it["failed"], default=None)
    muster = "muster" if shutil.which("muster") else sys.argv[0]
    say(f"\nLook further, with  export MUSTER_HOME={settings.home}")
    if worst is not None:
        say(f"  {muster} show {worst['id']:<10} a batch: causes, failed items, log")
        say(f"  {muster} export {worst['id']:<8} its items as CSV")
    asked = next((it["id"] for it in batches if it["workload"] == "prompts"), None)
    if asked is not None:
        say(f"  {muster} prompts answers {asked}   what the models answered, and where they mention the client")
    say(f"  {muster} batches         all batches of the last day")
    say(f"  {muster} clients list    the clients and their limits")
