"""A lane's way out to the web: sends a call, reads the whole answer within its bounds, and closes it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Final, Protocol, Self, cast

import httpx
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.http import HeaderMap

from muster.outcomes import ErrorKind, Failed
from muster.upstreams.answers import Answer, Unanswered
from muster.upstreams.failures import FAILURES, outcome_of
from muster.upstreams.hints import Room, room_of

MAX_BODY: Final = 8 << 20  # bytes, after decompression
CONNECT_S: Final = 5.0
IDLE_S: Final = 30.0  # shorter than load balancers keep a connection, so that none is used while they close it
_KEY_HEADERS: Final = ("authorization", "x-api-key", "x-goog-api-key")
_SHORTEST_KEY: Final = 6

Exchanged = tuple[int, Mapping[str, str], bytes]


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent; header names are in lower case. Half the CPU time of a call would go into an `httpx.Request`."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | None = field(default=None, repr=False)


class _Way(Protocol):
    """One of the two ways out; `exchange` reads at most a chunk beyond `MAX_BODY` and closes what it opened."""

    async def exchange(self, call: Call, timeout: float) -> Exchanged: ...  # noqa: ASYNC109
    async def aclose(self) -> None: ...


class Sender(Protocol):
    """What adapters send with."""

    async def send(self, call: Call, *, upstream: str, timeout: float) -> Answer:  # noqa: ASYNC109
        """Send a call and read its answer; raises `Unanswered` if there is none."""
        ...

    @property
    def seam(self) -> httpx.AsyncBaseTransport | None:
        """What stands in for the web in tests, also for those who have a way out of their own."""
        ...


class Caller:
    """One lane's connections: Rust's reqwest, or any of httpx's transports, the seam at which tests stand in.

    A transport that is given is left open. The default way follows no redirects and ignores proxy variables.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._way: _Way = _Web() if transport is None else _Through(transport)
        self.seam = transport
        self._told: dict[str, Mapping[str, str]] = {}  # the headers of each upstream's last answer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._way.aclose()

    async def send(self, call: Call, *, upstream: str, timeout: float) -> Answer:  # noqa: ASYNC109 - kept below
        """Send the call and read its answer, of whatever status, within `timeout` seconds in all.

        A call that is cancelled is left to the transport, which ends it when its time is over.

        Raises:
            Unanswered: there was no whole answer, or a good one is longer than `MAX_BODY`.
        """
        started = time.perf_counter()
        try:
            status, headers, body = await self._way.exchange(call, timeout)
        except FAILURES as error:
            failure = outcome_of(error, method=call.method, upstream=upstream)
            raise Unanswered(failure) from None  # the exception's own text may hold the URL or a header
        ms = 1000 * (time.perf_counter() - started)
        self._told[upstream] = headers
        if status in range(200, 300) and len(body) > MAX_BODY:
            raise Unanswered(_too_long(status, upstream))
        return Answer(status, headers, _without_key(body, call), ms, upstream)

    def room(self, upstream: str) -> Room | None:
        """What the upstream's last answer says of the room that is left; said once, and read only when it is asked."""
        return room_of(self._told.pop(upstream, {}))


class _Web:
    """Rust's reqwest, called natively: a third of the CPU time that the same takes behind httpx's seam."""

    def __init__(self) -> None:
        self._client: Client | None = None

    async def exchange(self, call: Call, timeout: float) -> Exchanged:  # noqa: ASYNC109 - reqwest keeps it
        self._client = self._client or _web()
        request = self._client.request(call.method, call.url).headers(call.headers).timeout(timedelta(seconds=timeout))
        if call.content is not None:
            request = request.body_bytes(call.content)
        async with request.build_streamed() as response:
            reader = response.body_reader

            async def chunks() -> AsyncIterator[bytes]:
                while (chunk := await reader.read_chunk()) is not None:
                    yield bytes(chunk)

            return response.status, _Headers(response.headers), await bounded(chunks())

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()


class _Headers(Mapping[str, str]):
    """An answer's headers, read when they are asked for; one that is no text is as if it were not there."""

    def __init__(self, headers: HeaderMap) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        try:
            return self._headers[name]
        except ValueError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers.keys())

    def __len__(self) -> int:
        return len(self._headers)


class _Through:
    """One of httpx's transports, called itself: `httpx.AsyncClient` would double the CPU time of a call."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def exchange(self, call: Call, timeout: float) -> Exchanged:  # noqa: ASYNC109 - the caller keeps it
        request = httpx.Request(call.method, call.url, headers=dict(call.headers), content=call.content)
        async with asyncio.timeout(timeout):
            response = await self._transport.handle_async_request(request)
            try:
                body = await bounded(cast("httpx.AsyncByteStream", response.stream))
                return response.status_code, response.headers, body
            finally:
                await response.aclose()

    async def aclose(self) -> None:
        """Whoever made the transport closes it."""


async def bounded(chunks: AsyncIterator[bytes] | httpx.AsyncByteStream) -> bytes:
    """The body, or of one that is longer than `MAX_BODY`, its beginning."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MAX_BODY:
            break
    return bytes(body)


def _too_long(status: int, upstream: str) -> Failed:
    error = f"{upstream} answered {status} with more than {MAX_BODY >> 20} MiB; the rest was not read."
    return Failed(kind=ErrorKind.REJECTED, error=error, status_code=status)


def _without_key(body: bytes, call: Call) -> bytes:
    """The body, should it repeat the key that it was asked with; errors come with good statuses too."""
    for name in _KEY_HEADERS:
        key = call.headers.get(name, "").rpartition(" ")[2].encode()
        if len(key) >= _SHORTEST_KEY:
            body = body.replace(key, b"[redacted]")
    return body


def _web() -> Client:
    builder = ClientBuilder().user_agent("muster").follow_redirects(enable=False).referer(enable=False).no_proxy()
    builder = builder.connect_timeout(timedelta(seconds=CONNECT_S)).pool_idle_timeout(timedelta(seconds=IDLE_S))
    return builder.tcp_keepalive(timedelta(seconds=IDLE_S)).build()
