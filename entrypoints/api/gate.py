"""Who is let in: a token, the cron secret, or, while no token was ever made, this very machine."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from entrypoints.api.problems import Refused, answer_to, problem
from muster.cron import is_cron_secret
from muster.errors import MusterError
from muster.ledger import Book
from muster.settings import Settings
from muster.tokens import known, note_use

FREE: Final = ("/healthz", "/docs", "/openapi.json")  # they tell nothing of anybody, once there are tokens
PATIENCE_S: Final = 5.0  # for a ledger that does not answer
MOST_BYTES: Final = 1 << 20  # of a request's body
CRON_HEADER: Final = "X-Cron-Secret"
_PROXIED: Final = ("forwarded", "x-forwarded-for", "x-real-ip")
_TOO_LARGE: Final = "The body is larger than a mebibyte"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `client` is the only one whose things it may see, None for all."""

    name: str
    client: str | None = None

    def sees(self, client_id: str) -> bool:
        """Whether a client's things are there for the caller."""
        return self.client is None or self.client == client_id


class Gate:
    """Stands before every address, and before any body is read."""

    def __init__(self, app: ASGIApp, book: Book, settings: Settings) -> None:
        self.app, self.book, self.settings = app, book, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through with its caller, or answer why not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            async with asyncio.timeout(PATIENCE_S):
                request.state.caller = await self._admit(request)
        except (Refused, MusterError, TimeoutError) as error:
            await answer_to(error)(scope, receive, send)
            return
        if _length(request) > MOST_BYTES:
            await problem(413, f"{_TOO_LARGE}.")(scope, receive, send)
            return
        await self.app(scope, _bounded(receive), send)

    async def _admit(self, request: Request) -> Caller:
        secret = request.headers.get(CRON_HEADER)
        if secret is not None and (request.method, request.scope["path"]) == ("POST", "/runs"):
            if not await is_cron_secret(self.book, self.settings, secret):
                raise Refused(401, "That is not the cron secret.")
            return Caller("cron secret")
        tokens = await self.book.tokens.all()
        if not tokens:
            if not is_local(request):
                raise Refused(403, "No token was made yet, and until then only this machine is answered.")
            return Caller("this machine")
        if request.scope["path"] in FREE:
            return Caller("anyone", client="")
        token = known(tokens, _bearer(request))
        if token is None:
            raise Refused(401, "Show a valid token: `Authorization: Bearer …`.")
        await note_use(self.book, token)
        return Caller(f"token {token['id']}, {token['name']}", token["client_id"])


def is_local(request: Request) -> bool:
    """Whether a program on this machine asks for itself: no proxy for others, no browser for a web page."""
    peer = request.client.host if request.client else ""
    said = [_host(f"//{request.headers.get('host', '')}"), *(_host(it) for it in request.headers.getlist("origin"))]
    return all(_is_loopback(it) for it in (peer, *said)) and not any(it in request.headers for it in _PROXIED)


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:  # no address at all
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _length(request: Request) -> int:
    said = request.headers.get("content-length", "")
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 20 else 0  # noqa: PLR2004, more than there is


def _bounded(receive: Receive) -> Receive:
    """A body that does not say its length is cut off where it grows too large."""
    seen = 0

    async def count() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MOST_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TOO_LARGE)
        return message

    return count
