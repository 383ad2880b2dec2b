"""The way out, over a real loopback server where the transport matters."""

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from muster.outcomes import ErrorKind, Failed, Retry
from muster.upstreams import caller as module
from muster.upstreams.answers import Answer, Unanswered, check
from muster.upstreams.caller import Call, Caller

K = ErrorKind
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SECRET = "topsecret-4711"


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[str]:
    """Serve each connection after its request's head; everything is closed at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                await serve(reader, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(handle(reader, writer))
        tasks.add(task)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/x?api_key={SECRET}"
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # for the transports to close their sockets


def answers(head: bytes, body: bytes = b"", *, then: float = 0) -> Serve:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 " + head + b"\r\n\r\n" + body)
        await writer.drain()
        await asyncio.sleep(then)

    return serve


async def hangs(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def says_nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    return


async def resets(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def ask(url: str, method: str = "POST", seconds: float = 5, **headers: str) -> Answer:
    request = Call(method, url, headers, b"{}" if method == "POST" else None)
    async with Caller() as caller:
        return await caller.send(request, upstream="acme", timeout=seconds)


async def failure(url: str, method: str = "POST", seconds: float = 5) -> Retry | Failed:
    with pytest.raises(Unanswered) as unanswered:
        await ask(url, method, seconds, authorization=f"Bearer {SECRET}")
    assert SECRET not in str(unanswered.value) + repr(unanswered.value)
    assert unanswered.value.__context__ is None or unanswered.value.__suppress_context__
    outcome = unanswered.value.outcome
    assert isinstance(outcome, Retry | Failed)
    assert outcome.error.startswith("acme")
    return outcome


async def test_an_answer_is_read_whole_and_measured() -> None:
    async with server(answers(b"201 Created\r\nx-request-id: r1\r\ncontent-length: 11", b'{"ok":true}')) as url:
        answer = await ask(url)

    assert (answer.status, answer.headers["X-Request-Id"], answer.json()) == (201, "r1", {"ok": True})
    assert answer.upstream == "acme"
    assert answer.ms > 0


async def test_packed_answers_are_unpacked() -> None:
    packed = gzip.compress(b"[" + b" " * 100_000 + b"]")
    async with server(answers(b"200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d" % len(packed), packed)) as url:
        assert len((await ask(url)).body) == 100_002


async def test_redirects_are_not_followed() -> None:
    async with server(answers(b"302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0")) as url:
        assert (await ask(url)).status == 302


async def test_proxy_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with server(answers(b"200 OK\r\ncontent-length: 2", b"{}")) as url:
        assert (await ask(url)).status == 200


async def test_a_closed_port_means_that_nothing_was_sent() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://user:{SECRET}@127.0.0.1:{sock.getsockname()[1]}/?key={SECRET}"
    outcome = await failure(url)

    assert outcome.kind is K.TRANSIENT
    assert outcome.error == "acme could not be reached: Connection refused (os error 111)."


async def test_a_name_that_nobody_has_means_that_nothing_was_sent() -> None:
    assert (await failure("http://nobody.invalid/")).kind is K.TRANSIENT


async def test_a_server_that_does_not_take_the_connection_in_time_was_sent_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CONNECT_S", 0.2)
    with socket.socket() as sock, socket.socket() as first, socket.socket() as second:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(sock.getsockname())
        outcome = await failure(f"http://127.0.0.1:{sock.getsockname()[1]}/")

    assert outcome.kind is K.TRANSIENT
    assert "could not be reached" in outcome.error


BROKEN: dict[str, Serve] = {
    "closed without a word": says_nothing,
    "reset": resets,
    "cut in a short body": answers(b"200 OK\r\ncontent-length: 100", b"abc"),
    "cut in a long body": answers(b"200 OK\r\ncontent-length: 1000000", b"x" * 300_000),
    "no HTTP": answers(b"hello"),
    "not what it says it is": answers(b"200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5", b"abcde"),
}
LATE: dict[str, Serve] = {
    "silent": hangs,
    "silent in a short body": answers(b"200 OK\r\ncontent-length: 100", b"abc", then=5),
    "silent in a long body": answers(b"200 OK\r\ncontent-length: 1000000", b"x" * 300_000, then=5),
}


@pytest.mark.parametrize(("method", "kind"), [("POST", K.UNKNOWN_OUTCOME), ("GET", K.TRANSIENT)])
@pytest.mark.parametrize("how", BROKEN)
async def test_what_was_sent_and_broken_off_may_have_been_done(how: str, method: str, kind: ErrorKind) -> None:
    async with server(BROKEN[how]) as url:
        outcome = await failure(url, method)

    assert outcome.kind is kind
    assert "broke the connection off" in outcome.error


@pytest.mark.parametrize(("method", "kind"), [("POST", K.UNKNOWN_OUTCOME), ("GET", K.TRANSIENT)])
@pytest.mark.parametrize("how", LATE)
async def test_what_was_sent_and_not_answered_in_time_may_have_been_done(
    how: str, method: str, kind: ErrorKind
) -> None:
    async with server(LATE[how]) as url:
        outcome = await failure(url, method, seconds=0.3)

    assert outcome.kind is kind
    assert "did not answer in time" in outcome.error


async def test_a_transport_that_keeps_no_time_is_kept_to_it() -> None:
    async def sleeps(_request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError

    caller = Caller(httpx.MockTransport(sleeps))
    with pytest.raises(Unanswered) as unanswered:
        await caller.send(Call("POST", "http://acme.test/"), upstream="acme", timeout=0.05)
    assert unanswered.value.outcome.kind is K.UNKNOWN_OUTCOME


async def test_other_transports_failures_are_known_by_their_class() -> None:
    def refuses(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    with pytest.raises(Unanswered) as unanswered:
        await Caller(httpx.MockTransport(refuses)).send(Call("POST", "http://acme.test/"), upstream="acme", timeout=1)
    assert unanswered.value.outcome.kind is K.TRANSIENT


async def test_an_answer_beyond_the_bound_is_rejected_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BODY", 1 << 20)
    sent = 0

    async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async with server(endless) as url:
        outcome = await failure(url)
        await asyncio.sleep(0.1)
        before = sent
        await asyncio.sleep(0.1)

    assert outcome == Failed(
        kind=K.REJECTED, error="acme answered 200 with more than 1 MiB; the rest was not read.", status_code=200
    )
    assert sent == before  # the server was hung up on


async def test_of_an_endless_error_the_beginning_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BODY", 1000)
    async with server(answers(b"503 Unavailable\r\ncontent-length: 500000", b"x" * 500_000)) as url:
        assert (await ask(url)).status == 503


async def test_a_cancelled_call_stays_cancelled_and_the_next_one_works() -> None:
    first = asyncio.Event()

    async def only_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not first.is_set():
            first.set()
            await hangs(reader, writer)
        await answers(b"200 OK\r\ncontent-length: 2", b"{}")(reader, writer)

    async with server(only_the_second) as url, Caller() as caller:
        request = Call("POST", url, content=b"{}")
        call = asyncio.create_task(caller.send(request, upstream="acme", timeout=5))
        await first.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await caller.send(request, upstream="acme", timeout=5)).status == 200


async def test_the_connection_of_a_cancelled_call_ends_with_its_time_at_the_latest() -> None:
    ended = asyncio.Event()
    begun = asyncio.Event()

    async def watches(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        begun.set()
        await reader.read()
        ended.set()

    async with server(watches) as url, Caller() as caller:
        call = asyncio.create_task(caller.send(Call("GET", url), upstream="acme", timeout=0.5))
        await begun.wait()
        call.cancel()
        await asyncio.wait([call])
        async with asyncio.timeout(3):
            await ended.wait()


async def test_an_address_that_cannot_be_called_is_rejected_without_naming_it() -> None:
    outcome = await failure(f"ftp://127.0.0.1/?key={SECRET}")

    assert (type(outcome), outcome.kind) == (Failed, K.REJECTED)


async def test_a_header_that_is_no_text_is_as_if_it_were_not_there() -> None:
    head = b"429 X\r\nretry-after: \xff\xfe\r\nx-should-retry: \xe9\r\nx-more: yes\r\ncontent-length: 2"
    async with server(answers(head, b"{}")) as url:
        answer = await ask(url)

    assert answer.headers.get("retry-after") is None
    assert answer.headers.get("X-More") == "yes"
    with pytest.raises(Unanswered) as unanswered:
        check(answer)
    assert unanswered.value.outcome == Retry(kind=K.THROTTLED, error="acme answered 429.", status_code=429)


async def test_a_header_that_cannot_be_sent_does_not_show() -> None:
    request = Call("GET", "http://127.0.0.1/", {"authorization": f"Bearer {SECRET}\n"})
    async with Caller() as caller:
        with pytest.raises(Unanswered) as unanswered:
            await caller.send(request, upstream="acme", timeout=1)

    assert unanswered.value.outcome.kind is K.REJECTED
    assert SECRET not in str(unanswered.value)


@pytest.mark.parametrize("status", [401, 200])  # some errors come with a good status
@pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-goog-api-key"])
async def test_an_error_that_repeats_the_key_is_cleaned_whatever_the_key_looks_like(header: str, status: int) -> None:
    async def echoes(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={"detail": f"{request.headers[header]} is unknown"})

    value = f"Bearer {SECRET}" if header == "authorization" else SECRET
    request = Call("POST", "http://acme.test/", {header: value})
    answer = await Caller(httpx.MockTransport(echoes)).send(request, upstream="acme", timeout=1)

    assert SECRET.encode() not in answer.body
    assert b"[redacted] is unknown" in answer.body


async def test_a_given_transport_is_left_open() -> None:
    class Transport(httpx.MockTransport):
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    transport = Transport(lambda _request: httpx.Response(200))
    async with Caller(transport):
        pass
    assert not transport.closed
