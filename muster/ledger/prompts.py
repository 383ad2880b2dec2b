"""Prompts in the ledger: imported, found for work, and the answers to them."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import exists, func, select

from muster.ledger.database import Database, Row, Tx, reads, writes
from muster.ledger.domain import ANSWER, PROMPT
from muster.ledger.tables import ITEM
from muster.outcomes import ErrorKind
from muster.states import ItemState, PromptState
from muster.upstreams.grounded import GroundedAnswer

_p = PROMPT.c


@dataclass(frozen=True, slots=True)
class Answered:
    """What a provider said to a prompt, and which names it mentions where."""

    item_id: int
    prompt_id: int
    client_id: str
    provider: str
    answer: GroundedAnswer
    mark: ErrorKind | None
    brand_mentioned: bool
    mentions: Mapping[str, Sequence[int]]
    cost_micros: int | None


class Prompts:
    """The prompts' pages of the ledger."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    async def put(self, tx: Tx, rows: Sequence[Mapping[str, Any]]) -> int:
        """Create prompts, or change the text of those that are there, and the state if it is given; all or none."""
        if rows:
            statement = tx.insert(PROMPT)
            new = {"text": statement.excluded.text}
            if any("state" in row for row in rows):  # a file without that column turns nothing on again
                new["state"] = statement.excluded.state
            filled = [{"state": PromptState.ACTIVE, **row} for row in rows]
            await tx.run(statement.on_conflict_do_update(index_elements=["client_id", "key"], set_=new), filled)
        return len(rows)

    @reads
    async def all(self, tx: Tx, client_id: str | None = None) -> Sequence[Row]:
        """Every prompt, or a client's, in the order in which they came."""
        mine = [_p.client_id == client_id] if client_id else []
        return await tx.rows(select(PROMPT).where(*mine).order_by(_p.client_id, _p.id))

    @reads
    async def count_active(self, tx: Tx) -> int:
        """How many prompts are put to providers, over all clients."""
        return int(await tx.value(select(func.count()).select_from(PROMPT).where(_p.state == PromptState.ACTIVE)))

    async def active(self, client_id: str, most: int | None) -> AsyncGenerator[Row, None]:
        """A client's active prompts, in the order in which they came."""
        wanted = select(PROMPT).where(_p.client_id == client_id, _p.state == PromptState.ACTIVE).order_by(_p.id)
        async with self.database.reading() as tx:
            async for row in tx.stream(wanted.limit(most)):
                yield row

    async def answers(self, batch_id: int) -> AsyncGenerator[Row, None]:
        """Every answer of a batch with what was asked then, in the order of its items, none kept in memory."""
        asked = select(_p.key.label("prompt"), ITEM.c.payload, ANSWER).select_from(ANSWER)
        joined = asked.join(ITEM, ITEM.c.id == ANSWER.c.item_id).join(PROMPT, _p.id == ANSWER.c.prompt_id)
        async with self.database.reading() as tx:
            async for row in tx.stream(joined.where(ITEM.c.batch_id == batch_id).order_by(ITEM.c.seq)):
                told = {name: value for name, value in row.items() if name not in {"prompt", "payload"}}
                yield {"prompt": row["prompt"], "asked": row["payload"].get("text"), **told}

    @reads
    async def unanswered(self, tx: Tx, batch_id: int) -> list[str]:
        """The items of a batch that succeeded although the ledger has no answer of theirs, by key."""
        has_answer = exists().where(ANSWER.c.item_id == ITEM.c.id)
        mine = (ITEM.c.batch_id == batch_id, ITEM.c.state == ItemState.SUCCEEDED, ~has_answer)
        return [row["key"] for row in await tx.rows(select(ITEM.c.key).where(*mine).order_by(ITEM.c.seq))]


async def keep_answers(tx: Tx, answered: Sequence[Answered]) -> None:
    """Write the answers of settled items, each once."""
    if answered:
        now = await tx.now()
        rows = [{**_row(it), "at": now} for it in answered]
        await tx.run(tx.insert(ANSWER).on_conflict_do_nothing(index_elements=["item_id"]), rows)


def _row(it: Answered) -> dict[str, Any]:
    return {
        "item_id": it.item_id,
        "prompt_id": it.prompt_id,
        "client_id": it.client_id,
        "provider": it.provider,
        "model": it.answer.model,
        "text": it.answer.text,
        "mark": it.mark,
        "grounded": it.answer.grounded,
        "brand_mentioned": it.brand_mentioned,
        "mentions": {name: list(places) for name, places in it.mentions.items()},
        "citations": [asdict(citation) for citation in it.answer.citations],
        "searches": it.answer.searches,
        "input_tokens": it.answer.input_tokens,
        "output_tokens": it.answer.output_tokens,
        "cost_micros": it.cost_micros,
    }
