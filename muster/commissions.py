"""A commission: articles as a person orders them; opened as a batch, found again, foreseen, and summed up on disk."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import ValidationError

from muster.drafts import put_aside
from muster.errors import BadInput, Busy, NotFound, WrongState
from muster.imports import ClientRow
from muster.ledger import Book
from muster.ledger.database import Row
from muster.limits import TESTING_CAPS, Mode
from muster.planning import Wanted, moment_key, open_run
from muster.settings import Settings
from muster.states import OPEN_BATCHES, BatchState
from muster.upstreams.chat import Chat
from muster.upstreams.tavily import Tavily
from muster.workloads.articles import Articles, how_worked

CLIENT: Final = "articles"  # whose they are, where nobody is named
FOLDER: Final = Path("drafts")
MANIFEST: Final = "manifest.json"
MOST_PARALLEL: Final = 1000
RESEARCH_S, WRITING_S = 3.0, 27.0  # what they usually take
SOURCE_TOKENS, PROMPT_TOKENS, WORD_TOKENS = 300, 200, 1.4  # of a usual source, the instruction, a word


@dataclass(frozen=True, slots=True)
class Commission:
    """What is asked for; the folder is an absolute path, for whoever goes on may be elsewhere."""

    keywords: tuple[str, ...]
    folder: Path
    mode: Mode = Mode.NORMAL
    client: str = CLIENT
    parallel: int = 1
    dry_run: bool = False
    continue_on_error: bool = False

    @property
    def key(self) -> str:
        """What two commissions for the same thing have in common, however they are worked."""
        said = [self.keywords, str(self.folder), self.mode, self.client, self.dry_run]
        return f"{Articles.name}:{hashlib.sha256(orjson.dumps(said)).hexdigest()[:16]}"

    def request(self, name: str) -> dict[str, Any]:
        """What the batch is to know of it."""
        return {
            "name": name,
            "keywords": list(self.keywords),
            "output_dir": str(self.folder),
            "dry_run": self.dry_run,
            "parallel": self.parallel,
            "continue_on_error": self.continue_on_error,
        }


async def commit(book: Book, settings: Settings, commission: Commission) -> Row:
    """Open a commission's batch, of a client that is made where it is not there.

    Raises:
        BadInput: the client's name is none.
        Busy: another batch of the client's articles is paused, and has to be seen to first.
        WrongState: the client takes no part.
    """
    try:
        ClientRow(id=commission.client)
    except ValidationError:
        raise BadInput(f"--client {commission.client[:60]!r} is no id of a client.") from None
    other = await book.readings.at_work(commission.client, Articles.name)
    if other is not None and other["state"] == BatchState.PAUSED:
        raise Busy(f"Batch {other['id']} of {commission.client} is paused, and comes first. {way_on(other)}")
    await book.clients.put([{"id": commission.client}])
    key = moment_key(commission.key, await book.readings.now())
    wanted = Wanted(
        key, Articles.name, commission.mode, (Articles.name,), (commission.client,), only=commission.request(key)
    )
    run_id = await open_run(book, settings, wanted)
    batches = await book.readings.batches_of_run(run_id)
    if not batches:
        (decision,) = await book.runs.decisions(run_id)
        await book.runs.close(run_id)
        raise WrongState(f"Nothing was begun for client {commission.client!r}: {decision.reason}.")
    return batches[0]


async def found_again(book: Book, commission: Commission) -> Row:
    """The newest batch of the same commission that was not brought to a good end.

    Raises:
        NotFound: there is none.
    """
    states = {*OPEN_BATCHES, BatchState.FAILED}
    batch = await book.readings.newest_batch(f"{commission.key}:", states)
    if batch is None:
        raise NotFound(
            "There is nothing to resume: no batch of these keywords and options was interrupted or has failed items."
            " `muster batches --since 7d` lists them; `muster articles --resume --batch ID` goes on with one."
        )
    return batch


async def commissioned(book: Book, batch_id: int) -> Row:
    """A batch of articles by its number.

    Raises:
        NotFound: no such batch, or one of another workload.
    """
    batch = await book.readings.batch(batch_id)
    if batch["workload"] != Articles.name:
        raise NotFound(f"Batch {batch_id} is one of {batch['workload']}; `muster resume {batch_id}` goes on with it.")
    return batch


def worked_as(batch: Row, parallel: int | None, continue_on_error: bool | None) -> dict[str, Any]:
    """How a batch is worked from now on, where that is said anew."""
    limits = batch["limits"]
    return how_worked(
        {
            "parallel": parallel or limits["at_once"],
            "continue_on_error": not limits["fail_fast"] if continue_on_error is None else continue_on_error,
        }
    )


def way_on(batch: Row) -> str:
    """The command that goes on with a batch."""
    return f"To go on: muster articles --resume --batch {batch['id']}"


async def safe_parallel(book: Book, cores: int) -> tuple[int, str]:
    """How many keywords at once are wise, and why: half of what the upstreams allow, the machine's cores, 5."""
    bounds = {f"{cores} cores": cores, "5 at most": 5}
    for it in await book.upstreams.all():
        if it["name"] in {Tavily.NAME, Chat.NAME}:
            if it["concurrency"] is not None:
                bounds[f"half of {it['name']}'s {it['concurrency']} calls in flight"] = it["concurrency"] // 2
            if it["per_minute"] is not None:
                bounds[f"half of {it['name']}'s {it['per_minute']:g} calls a minute"] = int(it["per_minute"] // 2)
    why = min(bounds, key=lambda it: bounds[it])
    return max(1, bounds[why]), why


async def foreseen(book: Book, settings: Settings, commission: Commission) -> dict[str, Any]:
    """What a commission would call for, cost and take, about; nothing is opened or called."""
    most = TESTING_CAPS["keywords"] if commission.mode is Mode.TESTING else None
    items = len(commission.keywords[:most])
    articles = 0 if commission.dry_run else items
    read = articles * (PROMPT_TOKENS + settings.article_sources * SOURCE_TOKENS)
    written = round(articles * settings.article_words * WORD_TOKENS)
    tokens = read * settings.article_input_micros + written * settings.article_output_micros
    rounds = math.ceil(items / commission.parallel)
    takes = rounds * (RESEARCH_S + (0 if commission.dry_run else WRITING_S))
    for it in await book.upstreams.all():
        calls = {Tavily.NAME: items, Chat.NAME: articles}.get(it["name"], 0)
        takes = max(takes, 60 * calls / it["per_minute"]) if it["per_minute"] else takes
    return {
        "items": items,
        "calls": {Tavily.NAME: items, Chat.NAME: articles},
        "input_tokens": read,
        "output_tokens": written,
        "cost_micros": items * settings.tavily_credit_micros + math.ceil(tokens / 1_000_000),
        "seconds": round(takes),
        "parallel": commission.parallel,
        "output_dir": str(commission.folder),
        "keywords": list(commission.keywords[:most]),
    }


async def summed_up(book: Book, batch: Row) -> dict[str, Any]:
    """A batch with every keyword: how it ended, where its files are with their checksums, what it cost."""
    async with aclosing(book.readings.items(batch["id"])) as items:
        keywords = [keyword_line(item) async for item in items]
    counts = {name: batch[name] for name in ("total", "succeeded", "skipped", "failed", "cancelled", "remaining")}
    return {
        "batch": batch["id"],
        "name": batch["request"]["name"],
        "client": batch["client_id"],
        "mode": batch["mode"],
        "dry_run": batch["request"]["dry_run"],
        "state": batch["state"],
        "reason": batch["reason"],
        **counts,
        "cost_micros": batch["cost_micros"],
        "output_dir": batch["request"]["output_dir"],
        "keywords": keywords,
    }


def keyword_line(item: Row) -> dict[str, Any]:
    """A keyword as scripts read it."""
    result: Mapping[str, Any] = item["result"] or {}
    return {
        "keyword": item["key"],
        "state": item["state"],
        **{name: result.get(name) for name in ("folder", "words", "sources", "model")},
        "files": result.get("files", {}),
        "cost_micros": result["cost_micros"] if result else item["cost_micros"],
        "tries": item["tries"],
        "error_kind": item["error_kind"],
        "error": item["error"],
    }


def write_manifest(summary: Mapping[str, Any]) -> Path:
    """Keep a batch's summary beside its drafts; a batch's own is never replaced by another's, the newest's is.

    Raises:
        OSError: it cannot be written.
    """
    folder = Path(summary["output_dir"])
    name = next(it for it in _manifests(summary["batch"]) if _is_free(folder / it, summary["name"]))
    content = orjson.dumps(summary, option=orjson.OPT_INDENT_2)
    for it in (name, MANIFEST):
        put_aside(folder, it, content)
    return folder / name


def _manifests(batch_id: int) -> Sequence[str]:
    """Several ledgers may share a folder, and count their batches alike."""
    return [f"manifest-{batch_id}.json", *(f"manifest-{batch_id}-{n}.json" for n in range(2, 1000))]


def _is_free(path: Path, name: str) -> bool:
    try:
        told = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return True
    except (OSError, orjson.JSONDecodeError):
        return False
    return isinstance(told, dict) and told.get("name") == name
