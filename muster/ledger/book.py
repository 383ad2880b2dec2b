"""The ledger's only door: each part is one noun, each of its methods one transaction."""

from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from sqlalchemy import select

from muster.errors import ConfigurationError
from muster.ledger.batches import Batches
from muster.ledger.beats import STALE_AFTER
from muster.ledger.clients import Clients
from muster.ledger.database import Database, Tx
from muster.ledger.drivers import Drivers
from muster.ledger.facts import Explaining
from muster.ledger.lanes import Lanes
from muster.ledger.mending import Mending
from muster.ledger.orders import Orders
from muster.ledger.pages import Pages
from muster.ledger.pairs import Pairs
from muster.ledger.profiles import Profiles
from muster.ledger.prompts import Prompts
from muster.ledger.proving import Proving
from muster.ledger.readings import Readings
from muster.ledger.runs import Runs
from muster.ledger.schema import head, revision, upgrade
from muster.ledger.stories import Stories
from muster.ledger.tables import SETTING
from muster.ledger.tokens import Tokens
from muster.ledger.upstreams import Upstreams


class Book:
    """The ledger at one address; used as an asynchronous context manager, which closes its connections."""

    def __init__(
        self, url: str, *, clock: Callable[[], datetime] | None = None, stale_after: timedelta = STALE_AFTER
    ) -> None:
        self.database = Database(url, clock=clock, stale_after=stale_after)
        self.clients = Clients(self.database)
        self.profiles = Profiles(self.database)
        self.prompts = Prompts(self.database)
        self.pairs = Pairs(self.database)
        self.stories = Stories(self.database)
        self.runs = Runs(self.database)
        self.batches = Batches(self.database)
        self.orders = Orders(self.database)
        self.lanes = Lanes(self.database)
        self.drivers = Drivers(self.database)
        self.mending = Mending(self.database)
        self.upstreams = Upstreams(self.database)
        self.proving = Proving(self.database)
        self.readings = Readings(self.database)
        self.pages = Pages(self.database)
        self.tokens = Tokens(self.database)
        self.explaining = Explaining(self.database)

    @property
    def stale_after_s(self) -> float:
        """Seconds of silence after which a driver or lane is dead; whoever beats does so several times in it."""
        return self.database.stale_after.total_seconds()

    async def upgrade(self) -> str:
        """Bring the schema to this version's; returns its revision."""
        return await upgrade(self.database)

    async def put_setting(self, key: str, value: str, *, keep_as: str | None = None) -> None:
        """Keep a setting in the ledger, in place of an earlier one, which may be kept under another key."""

        async def put(tx: Tx) -> None:
            before = await tx.value(select(SETTING.c.value).where(SETTING.c.key == key))
            kept = {keep_as: before} if keep_as and before is not None else {}
            for name, text in {**kept, key: value}.items():
                row = tx.insert(SETTING).values(key=name, value=text)
                await tx.run(row.on_conflict_do_update(index_elements=["key"], set_={"value": text}))

        await self.database.write(put)

    async def prepare(self, *, upgrade: bool) -> None:
        """Make sure that the ledger answers and has this version's schema; `upgrade` brings it there.

        Raises:
            Unreachable: it does not answer.
            ConfigurationError: its schema is another version's.
        """
        await self.database.probe()
        if upgrade:
            await self.upgrade()
        elif (has := await revision(self.database)) != head():
            raise ConfigurationError(
                f"The ledger at {self.database.place} has schema {has or 'none'}, and this version needs {head()};"
                " run `muster db upgrade`."
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.database.close()
