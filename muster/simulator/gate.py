"""What every call to every upstream goes through: key, rate, faults, latency and counting."""

import asyncio
import time
from collections.abc import Iterable
from functools import cache
from math import ceil

from starlette.types import Receive, Scope, Send

from muster.simulator.behaviour import (
    THROTTLE_HINT,
    Fault,
    busy_for,
    key_fault,
    latency,
    marked_fault,
    random_fault,
    twists_in,
)
from muster.simulator.calls import Calls
from muster.simulator.options import Options
from muster.simulator.rate import SlidingWindow
from muster.simulator.wire import Answer, Call, Endpoint, Headers, Refused, Subject, Upstream, Work

_HTML = Answer(
    502,
    b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>",
    content_type=b"text/html",
)
_HUGE_BYTES = 20_000_000


class Gate:
    """What all upstreams of one application share."""

    def __init__(self, options: Options, upstreams: Iterable[str]) -> None:
        names = tuple(upstreams)
        self.options = options
        self.calls = Calls(names)
        self._first_calls = dict[tuple[str, str], float]()
        self.windows = {name: SlidingWindow(options.rate_per_minute) for name in names}

    def busy(self, upstream: str, key: str) -> float:
        """Seconds for which an upstream is still busy with a key that says so, counted from its first call."""
        seconds = busy_for(key)
        if not seconds:
            return 0.0
        now = time.monotonic()
        return seconds - (now - self._first_calls.setdefault((upstream, key), now))

    def reset(self) -> None:
        """Start counting anew, rates included; runs under way go on."""
        self.calls.reset()
        self._first_calls.clear()
        for window in self.windows.values():
            window.clear()


class Door:
    """The ASGI application behind one route."""

    def __init__(self, gate: Gate, upstream: Upstream, endpoint: Endpoint) -> None:
        self._gate, self._upstream, self._endpoint = gate, upstream, endpoint
        self._window = gate.windows[upstream.name]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call, or wait until its client has left."""
        call = await _read(scope, receive)
        answer = await (self._held(call, receive) if self._endpoint.work is Work.HELD else self._settle(call, receive))
        if answer is not None:
            self._gate.calls.answered(self._upstream.name, answer.status)
            await _send(send, answer, self._upstream.headers(self._window.state(time.monotonic())))

    async def _held(self, call: Call, receive: Receive) -> Answer | None:
        self._gate.calls.enter(self._upstream.name)
        try:
            return await self._settle(call, receive)
        finally:
            self._gate.calls.leave(self._upstream.name)

    async def _settle(self, call: Call, receive: Receive) -> Answer | None:
        try:
            fault = self._let_in(call)
            if self._endpoint.work is Work.HELD and call.latency:
                await asyncio.sleep(call.latency)
            if fault is None:
                return await self._endpoint.answer(call)
        except Refused as refused:
            return self._refuse(refused)
        if fault is Fault.HANG:
            await _client_left(receive)
            return None
        return self._spoil(fault)

    def _let_in(self, call: Call) -> Fault | None:
        """Check the call in an upstream's order, and say the fault that it is to meet."""
        subject = self._subject(call)
        self._check_key(call)
        if (wait := self._window.admit(time.monotonic())) is not None:
            raise Refused(Fault.THROTTLED, wait=wait)
        if isinstance(subject, Refused):
            raise subject
        options, name = self._gate.options, self._upstream.name
        call.identity, call.text = subject
        call.turn = self._gate.calls.turn(name, call.identity)
        call.latency = latency(options, name, call.identity, call.turn)
        call.twists = twists_in(call.text)
        return marked_fault(call.text, call.turn) or random_fault(options, name, call.identity, call.turn)

    def _subject(self, call: Call) -> Subject | Refused:
        """Whom the call is about, counted; or why it cannot be taken, for later: the key comes first."""
        try:
            subject = self._endpoint.subject(call)
        except Refused as refused:
            return refused
        if self._endpoint.work is not Work.NONE:
            self._gate.calls.called(self._upstream.name, subject.identity)
        return subject

    def _check_key(self, call: Call) -> None:
        if (left := self._gate.busy(self._upstream.name, call.key)) > 0:
            raise Refused(Fault.THROTTLED, wait=left)
        fault = key_fault(call.key)
        if fault is Fault.OUT_OF_MONEY and self._endpoint.work is Work.NONE:
            return  # looking costs nothing
        if fault is not None:
            raise Refused(fault)

    def _spoil(self, fault: Fault) -> Answer:
        if fault is Fault.HTML:
            return _HTML
        if fault is Fault.HUGE:
            return _huge()
        return self._refuse(Refused(fault, wait=THROTTLE_HINT if fault is Fault.THROTTLED else None))

    def _refuse(self, refused: Refused) -> Answer:
        answer = self._upstream.error(refused)
        if refused.wait is None or self._upstream.hints_in_body:
            return answer
        hint = (b"retry-after", b"%d" % ceil(refused.wait))
        return Answer(answer.status, answer.body, (*answer.headers, hint), answer.content_type)


@cache
def _huge() -> Answer:
    """Valid JSON, so that only its size is wrong; made when first asked for."""
    return Answer(200, b'{"padding":"' + b"x" * _HUGE_BYTES + b'"}')


async def _read(scope: Scope, receive: Receive) -> Call:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return Call(
        path=scope["path"],
        params=scope["path_params"],
        headers=dict(scope["headers"]),
        query_string=scope["query_string"],
        body=body,
    )


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, answer: Answer, headers: Headers) -> None:
    length = (b"content-length", b"%d" % len(answer.body))
    own = ((b"content-type", answer.content_type), length, *headers, *answer.headers)
    await send({"type": "http.response.start", "status": answer.status, "headers": own})
    await send({"type": "http.response.body", "body": answer.body})
