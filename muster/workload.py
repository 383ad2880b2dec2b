"""What every workload keeps, and what an attempt is given to work with."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from muster.landing import Claimed, Landing, NewItem
from muster.ledger import Book
from muster.ledger.database import Tx
from muster.ledger.tables import Client
from muster.limits import Limits, Terms
from muster.outcomes import Outcome
from muster.settings import Settings
from muster.upstreams.caller import Sender


class Step(Protocol):
    """The memory of paid sub-calls."""

    async def __call__(
        self, name: str, call: Callable[[], Awaitable[Any]], cost: Callable[[Any], int | None] | None = None
    ) -> Any:
        """Run a call once for the item; `cost` reads from its result what it cost, in micro-dollars."""
        ...


@dataclass(slots=True)
class Place:
    """The right to one call to an upstream; whoever makes it says how many tokens of a language model it used."""

    tokens: int = 0


TakePlace = Callable[[str], AbstractAsyncContextManager[Place]]


class Upstream(Protocol):
    """An adapter: built from the settings and a lane's way out."""

    @classmethod
    def connect(cls, settings: Settings, caller: Sender) -> "Upstream":
        """Build it; no call is made."""
        ...


U = TypeVar("U", bound=Upstream)


@dataclass(frozen=True, slots=True)
class Context:
    """What an attempt is given: the batch's limits, the ledger to read in, the upstreams, the memory of paid sub-calls.

    `step(name, call)` runs `call` once for the item: its JSON result is durable before the attempt goes on, and a later
    attempt gets it back instead of paying again. An attempt begins with a place at its item's upstream; for a call to
    another one of its batch it goes through `async with place(name)`, which waits until that one's limits allow it.
    """

    limits: Limits
    settings: Settings
    book: Book
    caller: Sender
    step: Step
    place: TakePlace
    lane: str = ""  # who attempts it

    def upstream(self, adapter: type[U]) -> U:
        """The adapter of an upstream."""
        return adapter.connect(self.settings, self.caller)  # type: ignore[return-value]


class Workload(Protocol):
    """A kind of work: what is to be done, how one item is done, and what it changes."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]  # the settings without which no item can succeed
    nothing: ClassVar[str]  # why a client has no batch where the plan is empty
    narrowed_by: ClassVar[frozenset[str]]  # what a request may name to narrow it, such as profiles by their `ids`
    longest_s: ClassVar[float]  # an attempt that takes longer is given up; its calls have timed out by then

    def __init__(self, settings: Settings) -> None: ...

    def terms(self, limits: Limits) -> Terms:
        """What the engine needs of the limits."""
        ...

    def bar(self, limits: Limits) -> str | None:
        """Why a client with these limits has no such work at all; None if it has."""
        ...

    def plan(
        self, book: Book, client: Client, limits: Limits, request: Mapping[str, Any]
    ) -> AsyncGenerator[NewItem, None]:
        """What is to be done, one item at a time; keys are unique."""
        ...

    async def attempt(self, item: Claimed, ctx: Context) -> Outcome:
        """Do one item: one upstream call, or a few."""
        ...

    async def settle(self, tx: Tx, closed: Sequence[Landing]) -> Mapping[int, int]:
        """Write what closed items changed, in the transaction that closes them; what each gained, by item id."""
        ...


@runtime_checkable
class Narrows(Protocol):
    """A workload whose limits depend on what the ledger holds and on what was asked for."""

    async def is_set_up(self, book: Book) -> bool:
        """Whether an operator has set up what it works with; where not, it is no part of a night."""
        ...

    async def narrow(self, book: Book, client: Client, limits: Limits, request: Mapping[str, Any]) -> Limits:
        """The limits with which a batch is opened.

        Raises:
            NotFound: the request names what is not there.
        """
        ...
