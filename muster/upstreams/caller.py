"""A lane's way out to the web: sends a request, reads the whole answer within its bounds, and closes it."""

import asyncio
import time
from datetime import timedelta
from types import TracebackType
from typing import Final, Self, cast

import httpx
from pyreqwest.client import ClientBuilder
from pyreqwest.compatibility.httpx import HttpxTransport

from muster.outcomes import ErrorKind, Failed
from muster.upstreams.answers import Answer, Unanswered
from muster.upstreams.failures import FAILURES, outcome_of

MAX_BODY: Final = 8 << 20  # bytes, after decompression
CONNECT_S: Final = 5.0
IDLE_S: Final = 30.0  # shorter than load balancers keep a connection, so that none is used while they close it
GRACE_S: Final = 0.25  # by which the transport is given the first word on a timeout: it knows more
_KEY_HEADERS: Final = ("authorization", "x-api-key", "x-goog-api-key")
_SHORTEST_KEY: Final = 6


class Caller:
    """One lane's connections; calls the transport itself, since `httpx.AsyncClient` doubles the CPU time of a call.

    A transport that is given is left open. The default one follows no redirects and ignores proxy variables.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._transport = transport or _web()
        self._is_own = transport is None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_own:
            await self._transport.aclose()

    async def send(self, request: httpx.Request, *, upstream: str, timeout: float) -> Answer:  # noqa: ASYNC109 - kept below
        """Send the request and read its answer, of whatever status, within `timeout` seconds in all.

        A call that is cancelled is left to the transport, which ends it when its time is over.

        Raises:
            Unanswered: there was no whole answer, or a good one is longer than `MAX_BODY`.
        """
        # pyreqwest adds these up to one limit from connecting to the body's end.
        request.extensions = {**request.extensions, "timeout": {"read": timeout}}
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout + GRACE_S):
                status, headers, body = await self._exchange(request, upstream)
        except FAILURES as error:
            failure = outcome_of(error, method=request.method, upstream=upstream)
            raise Unanswered(failure) from None  # the exception's own text may hold the URL or a header
        ms = 1000 * (time.perf_counter() - started)
        return Answer(status, headers, body if status in range(200, 300) else _without_key(body, request), ms, upstream)

    async def _exchange(self, request: httpx.Request, upstream: str) -> tuple[int, httpx.Headers, bytes]:
        response = await self._transport.handle_async_request(request)
        try:
            return response.status_code, response.headers, await _read(response, upstream)
        finally:
            await response.aclose()


async def _read(response: httpx.Response, upstream: str) -> bytes:
    """Read the body; of an error's that is too long, its beginning."""
    body = bytearray()
    async for chunk in cast("httpx.AsyncByteStream", response.stream):
        body += chunk
        if len(body) > MAX_BODY:
            if response.is_success:
                raise Unanswered(_too_long(response.status_code, upstream))
            break
    return bytes(body)


def _too_long(status: int, upstream: str) -> Failed:
    error = f"{upstream} answered {status} with more than {MAX_BODY >> 20} MiB; the rest was not read."
    return Failed(kind=ErrorKind.REJECTED, error=error, status_code=status)


def _without_key(body: bytes, request: httpx.Request) -> bytes:
    """An error's body, should it repeat the key that it was asked with."""
    for name in _KEY_HEADERS:
        key = request.headers.get(name, "").rpartition(" ")[2].encode()
        if len(key) >= _SHORTEST_KEY:
            body = body.replace(key, b"[redacted]")
    return body


def _web() -> httpx.AsyncBaseTransport:
    """Rust's reqwest behind httpx's seam; each call brings its own time limit."""
    builder = ClientBuilder().user_agent("muster").follow_redirects(enable=False).referer(enable=False).no_proxy()
    builder = builder.connect_timeout(timedelta(seconds=CONNECT_S)).pool_idle_timeout(timedelta(seconds=IDLE_S))
    return HttpxTransport(builder.tcp_keepalive(timedelta(seconds=IDLE_S)).build())
