"""`muster prompts`: import, list, and the answers to them."""

from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer

from entrypoints.cli.batches import BatchId, known_batch
from entrypoints.cli.export import opened
from entrypoints.cli.speech import note, pick, run, say, say_json, say_table
from entrypoints.cli.streams import hush
from muster.errors import BadInput, NotFound
from muster.imports import read_prompts
from muster.ledger.clients import unknown_client
from muster.report import counted
from muster.settings import Settings
from muster.wiring import open_book

COLUMNS: Final = ("client_id", "key", "state", "text")
HEAD: Final = ("client", "key", "state", "text")

app = typer.Typer(help="The prompts that are put to model providers, and their answers.", no_args_is_help=True)


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="CSV whose first line names the columns; `client_id` and `text` are required.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Create prompts, or change the text and state of those that are there.

    Columns: client_id, key (unique for the client; made from the text if left out), text, state (active, inactive). All
    lines are taken or none. Which brand is looked for in the answers is the client's: `muster clients set`.

    \b
    client_id,key,text
    acme,crm-dentists,Which CRM is best for dentists?
    """  # noqa: D301, click's own sign for "do not wrap"

    async def work() -> int:
        async with open_book(Settings.read()) as book:
            known = {client.id for client in await book.clients.all()}
            return await book.prompts.put(read_prompts(file, known))

    imported = run(work())
    say_json({"imported": imported}) if as_json else say(f"{counted(imported, 'prompt')} imported.")


@app.command("list")
def list_(
    client: Annotated[str | None, typer.Option(help="Only this client's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show the prompts, in the order in which they are asked."""

    async def work() -> list[dict[str, object]]:
        async with open_book(Settings.read()) as book:
            if client and client not in {it.id for it in await book.clients.all()}:
                raise NotFound(unknown_client(client))
            return [dict(row) for row in await book.prompts.all(client)]

    rows = run(work())
    if as_json:
        say_json({"prompts": rows})
    elif rows:
        say_table(HEAD, [pick(row, *COLUMNS) for row in rows])
    else:
        say("No prompts yet; `muster prompts import FILE.csv` brings them.")


@app.command()
def answers(
    batch: BatchId,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The file; left out, standard output.")] = None,
) -> None:
    """Write the answers of a batch as JSON lines: text, model, mentions and where, citations, tokens, cost.

    \b
    muster prompts answers 12 -o answers.jsonl
    """  # noqa: D301, click's own sign for "do not wrap"

    async def work() -> int:
        written = 0
        async with open_book(Settings.read()) as book:
            await known_batch(book, batch)
            with opened(output) as file:
                async with aclosing(book.prompts.answers(batch)) as rows:
                    async for row in rows:
                        file.write(orjson.dumps(dict(row), default=str).decode() + "\n")
                        written += 1
        return written

    try:
        written = run(work())
    except BrokenPipeError:  # `| head` has had enough
        hush()
    except OSError as wrong:
        raise BadInput(f"{output or 'Standard output'}: {(wrong.strerror or 'cannot be written').lower()}.") from None
    else:
        note(f"{counted(written, 'answer')} of batch {batch} written{f' to {output}' if output else ''}.")
